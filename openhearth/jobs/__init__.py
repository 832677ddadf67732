"""The worker: takes work from the queue, holds it, and keeps it alive through crashes."""
