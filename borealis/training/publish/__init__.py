"""From a run to a checkpoint that others use: card, export, hub."""
