"""Why something has changed, and what to do about it."""
