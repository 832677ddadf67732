"""Inference: knows tokens and tensors, nothing of requests or rows."""
