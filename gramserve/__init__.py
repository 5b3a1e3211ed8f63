"""Exact Gram matrices of convolutional neural kernels, as a service."""

__version__ = "0.1.0"
