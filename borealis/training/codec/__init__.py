"""Training of our own codec: a recipe of its own kind, and the loop that follows it."""
