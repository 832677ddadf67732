"""One program for each embedding engine; each runs in an environment of its own: `program MODEL WORKLOAD`."""
