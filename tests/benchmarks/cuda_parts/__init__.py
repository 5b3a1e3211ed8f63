"""Parts of the benchmark of the CUDA engine; ``tests/benchmarks/cuda.py`` is what runs."""
