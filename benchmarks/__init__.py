"""Measured, not asserted: what this system costs, each figure with the command that makes it."""
