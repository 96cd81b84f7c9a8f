"""The training loop of a stage: steps, checkpoints, validation, progress."""
