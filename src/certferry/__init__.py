"""certferry: bulk certificate exchange between Cisco Unified CM style clusters, so that IP phones can move."""

__version__ = "0.1.0"
