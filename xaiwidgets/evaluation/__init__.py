"""Is an explanation any good: how explanations agree with each other, and with the model."""
