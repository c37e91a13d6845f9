"""The steps joined into pipelines; compile, run here, submit and schedule them; the command line."""
