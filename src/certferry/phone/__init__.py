"""What a phone decides: its flash, its boot machine, the words on its status screen. No sockets."""
