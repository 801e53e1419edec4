"""Batches, augmented and shared out over processes, out of sets of images or other items."""
