"""Assignors, which share a group's partitions out among its members, found by their names."""
