"""Monitoring: drift, online metrics, A/B statistics, recall, and the remedy for each."""
