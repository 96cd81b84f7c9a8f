"""Training of the network that completes codes of speech: a recipe and the loop for it."""
