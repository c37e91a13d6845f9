"""The KServe predictor: pictures in, unit vectors out."""
