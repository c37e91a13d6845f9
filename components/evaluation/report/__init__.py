"""The picture report: one self-contained HTML page."""
