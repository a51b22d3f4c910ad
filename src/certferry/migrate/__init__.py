"""Proving a migration beforehand, watching it, explaining it afterwards: rehearse, verify, diagnose, report."""
