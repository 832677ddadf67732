"""The objects of the OpenAI specification: shape and validation, no behaviour."""
