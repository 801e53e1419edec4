"""Image files: what is in them, whether they can be used, and their pixels."""
