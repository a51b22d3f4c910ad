"""Each revision of the tables in a module of its own, with its tables as they were then."""
