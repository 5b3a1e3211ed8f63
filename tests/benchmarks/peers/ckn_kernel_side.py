"""Gram matrices by ckn_kernel: norms first, then every distinct pair once, on one core."""

import platform

import numpy as np
from answer import serve


class CknKernel:
    """Its matrices are float32, as it is published; single pairs also come in float64."""

    def __init__(self):
        import ckn_kernel

        self.ckn = ckn_kernel
        self.versions = f"ckn_kernel, Python {platform.python_version()}"

    def prepare(self, case, x, part, parts):
        """Return the run over some rows, such that all processes get about as many pairs."""
        layers = case["layers"]
        norms, inverses = self.ckn.compute_norms(x, model=layers)
        kernel = self.ckn.CKNKernel(x.shape[1:], model=layers)
        gram = np.zeros((len(x), len(x)), dtype=np.float32)
        # 0 1 1 0 0 1 1 0 ...: row i has n - i pairs.
        turns = [*range(parts), *reversed(range(parts))]
        rows = [row for row in range(len(x)) if turns[row % (2 * parts)] == part]

        def run():
            for row in rows:
                one, rest = slice(row, row + 1), slice(row, None)
                gram[one, rest] = kernel.compute_kernel_matrix(
                    x[one], x[rest], norms[one], norms[rest], inverses[one], inverses[rest]
                )
            return gram

        return run

    def values(self, case, x, double):
        """Return the matrix in either precision."""
        gram = np.zeros((len(x), len(x)))
        if double:
            for i, j in zip(*np.triu_indices(len(x)), strict=True):
                gram[i, j] = self.ckn.compute_kernel(x[i], x[j], case["layers"])
        else:
            gram[:] = self.prepare(case, x, 0, 1)()
        return np.triu(gram) + np.triu(gram, 1).T


if __name__ == "__main__":
    serve(CknKernel)
