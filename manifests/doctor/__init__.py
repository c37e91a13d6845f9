"""Whether a cluster has what an overlay needs, before anything is applied: read-only, by a person's own rights."""
