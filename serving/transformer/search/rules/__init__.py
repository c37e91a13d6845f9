"""The rules that a row must pass to be shown, each a small class with a name."""
