"""What a trained student sees: token graphs, pictures, gradients of a loss's parts."""
