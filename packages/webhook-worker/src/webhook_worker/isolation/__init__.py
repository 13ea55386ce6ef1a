"""What keeps a bad endpoint's trouble its own: how many attempts it may have, and when."""
