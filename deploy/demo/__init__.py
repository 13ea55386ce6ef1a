"""`make demo`: the whole way of a webhook on real brokers, with a pod killed in the middle."""
