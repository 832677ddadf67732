"""Where models come from: embedded defaults, folders, the Hugging Face hub, GGUF files, and aliases."""
