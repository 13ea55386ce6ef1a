"""A group in one process and in virtual time: its coordinator, a network, and real members."""
