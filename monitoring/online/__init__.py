"""Online metrics: users' reactions to the answers, by arm, release, position, country and time."""
