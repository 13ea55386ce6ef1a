"""What several tests need: members of a group as processes of their own, and an account of them."""
