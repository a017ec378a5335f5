"""Run-time environment of the kernels: threads, instruction sets, memory, the OpenMP runtime."""
