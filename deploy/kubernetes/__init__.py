"""The fleet in a cluster: manifests, and what they need of Kafka."""
