"""MLflow, opened in one way by training and registration. Not a step."""
