"""Gram matrices by Neural Tangents on the CPU, in the precision of its first argument."""

import os
import platform
import sys
from math import sqrt

from answer import serve


class NeuralTangents:
    """Closed-form kernels, compiled by JAX; every entry of the matrix is computed."""

    def __init__(self, double):
        os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", JAX_PLATFORMS="cpu")
        import jax

        jax.config.update("jax_enable_x64", double)
        import jaxlib
        import neural_tangents
        from neural_tangents import stax

        self.jax, self.stax, self.dtype = jax, stax, "float64" if double else "float32"
        self.versions = (
            f"Neural Tangents {neural_tangents.__version__}, JAX {jax.__version__}, "
            f"jaxlib {jaxlib.__version__}, Python {platform.python_version()}"
        )
        self.compiled = {}

    def network(self, name):
        """One of the networks by its name here; weights have W_std of sqrt 2 and no biases."""
        stax = self.stax

        def conv(count):
            layer = stax.Conv(1, (3, 3), W_std=sqrt(2), b_std=None, padding="SAME")
            return [layer, stax.Relu()] * count

        pool = stax.AvgPool((2, 2), strides=(2, 2))
        dense = stax.Dense(1, W_std=sqrt(2), b_std=None)
        last = stax.Dense(1, W_std=1.0, b_std=None)
        gap = stax.GlobalAvgPool()
        networks = {
            "myrtle5": [*conv(2), pool, *conv(1), pool, *conv(1), gap, last],
            "myrtle10": [*conv(3), pool, *conv(3), pool, *conv(3), gap, last],
            "flatten": [*conv(10), stax.Flatten(), dense],
            "connected": [*[dense, stax.Relu()] * 3, last],
        }
        return stax.serial(*networks[name])

    def function(self, case):
        """Return the compiled ``x -> Gram matrix``; kept, so that it is compiled once."""
        key = case["network"], case["kernel"]
        if key not in self.compiled:
            _, _, kernel = self.network(case["network"])
            self.compiled[key] = self.jax.jit(lambda x: kernel(x, None, case["kernel"]))
        return self.compiled[key]

    def prepare(self, case, x, part, parts):
        """All of the matrix at once: JAX uses all cores by itself."""
        if (part, parts) != (0, 1):
            msg = "Neural Tangents computes its matrix in one process"
            raise ValueError(msg)
        function, items = self.function(case), self.jax.numpy.asarray(x, dtype=self.dtype)
        return lambda: function(items).block_until_ready()

    def values(self, case, x, double):
        """Return the matrix as this process computes it."""
        if double != (self.dtype == "float64"):
            msg = f"this process computes in {self.dtype}"
            raise ValueError(msg)
        return self.prepare(case, x, 0, 1)()


if __name__ == "__main__":
    serve(lambda: NeuralTangents(sys.argv[1] == "float64"))
