"""The embedding engine: batches of texts in, one vector each out, over OpenVINO on the CPU."""
