"""A whole fleet on this machine, beside what a user would pick instead."""
