"""Kustomize bases, components and overlays; `checks` finds what a cluster would refuse in them."""
