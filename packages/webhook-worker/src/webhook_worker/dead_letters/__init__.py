"""Dead letters as something to work with: found, looked at, and sent on their way again."""
