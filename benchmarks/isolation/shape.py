"""The shape of the work: fifty endpoints, a topic, a process."""

TOPIC = "isolation"
LATER = "isolation.later"
PARTITIONS = 12
ENDPOINTS = 50
HANGING = 10
IN_FLIGHT = 100
TIMEOUT_SECONDS = 15.0
BYTES = 1_000
