"""The registration step: the release directory, its version in MLflow, the aliases, and the log of promotions."""
