"""The door for work that nobody waits for: it translates and reports, the services decide."""
