"""Names of the OCI images that pipeline tasks run in; `visual-search compile --image` puts a digest in their place."""

# kfp.local warns about every image whose name does not contain "python".
PIPELINE_IMAGE = "visual-search-pipeline-python:0.1.0"
