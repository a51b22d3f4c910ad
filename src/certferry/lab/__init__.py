"""Whole networks on loopback: clusters with running nodes, an SFTP server and phones, for the demo and for tests."""
