"""Fine-tuning as a program of its own: a spec in; event lines and checkpoints out. Knows nothing of rows or HTTP."""
