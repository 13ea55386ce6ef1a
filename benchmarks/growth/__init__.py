"""How a fleet's price grows with its size: real fleets up to 100 processes, 1,000 simulated."""
