"""The topic in which former owners tell what is settled: written, read, and tried at the start."""
