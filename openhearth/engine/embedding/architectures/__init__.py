"""Graph builders: from a Hugging Face directory to an OpenVINO model of hidden states.

All of them take `input_ids`, i32 `[B, S]`, padded on the right, and `lengths`, i32 `[B]`.
"""
