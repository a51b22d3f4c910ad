"""Bulk certificate management: the exchange directory, export, consolidate, import."""
