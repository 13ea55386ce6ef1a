"""The story of a fleet that stood still, played again with its settings and with ours."""
