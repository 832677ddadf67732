"""Where a program runs: one protocol; on this machine for now."""
