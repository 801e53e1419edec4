"""Images with boxes round the objects in them."""
