"""MLflow, opened in one way by whoever records a training or registers a release. Not a step."""
