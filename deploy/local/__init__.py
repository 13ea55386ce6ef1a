"""Real Kafka brokers on this machine: fetched, started, watched over, ended."""
