"""Online metrics: what people did with the answers, by arm, release, position, country and time."""
