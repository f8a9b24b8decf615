"""What is given in place of inputs; corruption(key, inputs, mask, *, ...) -> Corrupted."""
