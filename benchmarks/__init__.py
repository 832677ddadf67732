"""Programs that answer one question each; run by hand, JSON on the last line of standard output."""
