"""Checks whether a cluster has what an overlay needs, before anything is applied: read-only, with the user's own rights."""
