"""Clients of one consumer group side by side: what a change of members costs each of them."""
