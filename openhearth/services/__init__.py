"""Use cases: one class per resource, one method per use case."""
