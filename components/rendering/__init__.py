"""A shop that exists only here: rendered product photographs, graded judgements and a click log, with known truth."""
