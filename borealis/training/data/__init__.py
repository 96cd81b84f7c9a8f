"""What a stage learns from, before it is a batch: sources, feature caches, conversations."""
