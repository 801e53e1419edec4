"""Networks for images of 32x32 pixels, with RepDistiller's parameter names."""
