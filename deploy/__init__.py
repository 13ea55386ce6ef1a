"""How the fleet is deployed: locally, in a container, in a cluster."""
