"""From a request to what came back: attempts, connections, the addresses that are dialled."""
