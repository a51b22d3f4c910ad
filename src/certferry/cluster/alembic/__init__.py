"""Alembic's migrations of a cluster's tables, the same on SQLite and PostgreSQL.

A change of ``schema.py`` after a release is a new revision here and a new ``SCHEMA_VERSION``; a test compares them.
There is no way down: an upgrade leaves a copy of a SQLite file beside it, and PostgreSQL has its own backups.
"""
