"""A/B tests between two releases: ratio metrics by user, always-valid intervals, guardrails, a verdict with reasons."""
