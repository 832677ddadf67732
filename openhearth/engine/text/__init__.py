"""The CPU text engine: continuous batching over OpenVINO PagedAttention kernels."""
