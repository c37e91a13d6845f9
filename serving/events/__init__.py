"""Impressions, clicks and dwell: signed, stored once, exported for labelling."""
