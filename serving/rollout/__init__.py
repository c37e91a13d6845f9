"""From the registry to the cluster: plan, canary, promote, roll back. A process of its own, never part of answering queries."""
