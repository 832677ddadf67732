"""Where content is kept: one protocol, several backends, one contract suite."""
