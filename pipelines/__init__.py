"""The steps joined into pipelines; compile, run here, submit and schedule them; the command line."""

PIPELINE_NAMES = ("training", "reindexing", "demonstration", "monitoring")
