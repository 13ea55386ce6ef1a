"""What the controller itself costs: CPU for each record, memory, start."""
