"""Threads, instruction sets, buffers: what the kernels run on."""
