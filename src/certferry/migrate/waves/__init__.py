"""Migration in waves: which phones, in what order and pace, when to stop, and how to go on after a crash."""
