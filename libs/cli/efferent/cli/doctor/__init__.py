"""``efferent doctor``: what is configured, what can be reached, what is missing, and what to do about it."""
