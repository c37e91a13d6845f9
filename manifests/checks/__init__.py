"""Rendered Kubernetes manifests, judged without a cluster: by schemas, by admission rules and by policies."""
