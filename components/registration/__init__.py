"""Registration: the release directory, its version in MLflow, the aliases, and the log of who promoted what and why."""
