"""Checks of rendered Kubernetes manifests without a cluster: by schemas, by admission rules and by policies."""
