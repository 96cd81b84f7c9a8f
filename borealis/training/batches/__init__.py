"""Batches by step, of cached features or of recordings."""
