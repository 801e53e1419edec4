"""What a trained student is for: loading, evaluating, predicting, exporting."""
