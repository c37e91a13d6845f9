"""The report of an experiment: one page that needs no other file."""
