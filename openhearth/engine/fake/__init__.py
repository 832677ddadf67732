"""A text engine without weights."""
