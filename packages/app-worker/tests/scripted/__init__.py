"""A controller with everything around it scripted, in virtual time."""
