"""From results to tables, paired differences and a page."""
