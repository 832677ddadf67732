"""The HTTP door: one module per OpenAI resource; translates requests, never decides."""
