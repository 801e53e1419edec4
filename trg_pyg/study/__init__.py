"""A study: its teacher, its students, their folders, and how it tells of itself."""
