"""Manifests, sources, augmentation and batches: everything between a recording and a trainer."""
