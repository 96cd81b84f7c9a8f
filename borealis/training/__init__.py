"""Training: stages, recipe schema, feature cache, trainer."""
