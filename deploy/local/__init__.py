"""The whole fleet on one machine: brokers, pods, a sample receiver, a demo."""
