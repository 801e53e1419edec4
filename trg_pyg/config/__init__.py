"""What a study can be told: the schema of its configuration, and how a command line becomes choices."""
