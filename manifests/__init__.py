"""Kustomize bases, components and overlays; `checks` says what a cluster would refuse in them."""
