"""The CUDA engine: the mathematics as C++ templates in ``sources``, and what chooses among them."""
