"""The drill: what a fleet goes through in its life, played on real brokers, with a ledger."""
