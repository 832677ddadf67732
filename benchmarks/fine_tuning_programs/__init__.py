"""What the trainer is compared with: a program that stands alone."""
