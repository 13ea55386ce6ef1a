"""What is done to a group, and the figures that each repetition of it gives."""
