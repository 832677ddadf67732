"""Programs that use the hosted service through other people's libraries."""
