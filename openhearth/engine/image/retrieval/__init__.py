"""Drawing with a bank of sprites to look at: the embedded model's network, and what it is told about a prompt."""
