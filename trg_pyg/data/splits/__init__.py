"""Which images are for training, for testing and held out, and how many there are of each class."""
