"""Images with the instances in them."""
