"""What the command line and a command both name, so that neither needs to load the other."""

LISTED_STATES = ("enabled", "disabled", "failing", "suspected", "invalid")
"""In which an endpoint can be listed."""

TEST_TYPE = "webhook.test"
"""The type of an event that tries an endpoint, unless another is named."""
