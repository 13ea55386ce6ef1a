"""What the exit status of a command means."""

OK = 0
FAILED = 1
"""It was tried and did not work, or something was found to be wrong."""
MISUSED = 2
"""The arguments or the environment are wrong; nothing was tried."""
INTERRUPTED = 130
"""Ended by Ctrl-C."""
