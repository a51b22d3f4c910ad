"""Option 150: what DHCP tells phones about their TFTP servers, and how to change it."""
