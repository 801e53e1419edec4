"""Texts: where they come from, and the numbers that they become."""
