"""What one does with a model: train it, evaluate it, stop and go on."""
