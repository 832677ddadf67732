"""Graph builders: from a Hugging Face directory to an OpenVINO model with paged attention."""
