"""A group member's side of Kafka's group protocol, eager and cooperative (KIP-429)."""
