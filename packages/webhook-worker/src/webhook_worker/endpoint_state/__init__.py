"""What the whole fleet knows of an endpoint besides its configuration: that it fails, or is off.

It is kept in a compacted topic, written by whoever finds it out, and by operators.
"""
