"""A rollout rehearsed on one machine: real servers, a router in place of the ingress, simulated users with known preferences."""
