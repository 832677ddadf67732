"""Models that another server computes, behind any OpenAI-compatible base URL."""
