"""Images with diffusers, in a process of their own."""
