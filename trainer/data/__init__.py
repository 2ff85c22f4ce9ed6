"""The input: prepare a dataset, hold its arrays, and cut batches that a seed and a step decide."""
