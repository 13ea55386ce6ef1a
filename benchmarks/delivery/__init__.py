"""What a delivery costs, beside what a user would pick instead."""
