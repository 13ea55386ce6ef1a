"""What a user would pick instead, each a program that delivers until it is told to stop."""
