"""Content addresses: what names a Gram matrix, a block and a set of variances."""

from gramserve.spec.canonical import digest_of
from gramserve.spec.network import FORMAT, KernelSpec, Precision

KERNEL_CODE_VERSION = 1
"""Raised when a change makes engines return different numbers for the same spec."""


def gram_address(
    spec: KernelSpec,
    precision: Precision,
    dataset: str,
    other: str | None,
    block_size: int,
) -> str:
    """Return the id of a Gram matrix: a hash of all that decides its content and layout.

    Parameters
    ----------
    spec : KernelSpec
        With one kernel.
    precision : {"float32", "mixed", "float64"}
        How the numbers are computed.
    dataset : str
        Digest of the data set of the rows.
    other : str or None
        Digest of the data set of the columns; None for a symmetric matrix.
    block_size : int
        Rows and columns of a block.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    return digest_of(
        {
            "format": FORMAT,
            "code": KERNEL_CODE_VERSION,
            "kernel": spec.canonical(),
            "precision": precision,
            "dataset": dataset,
            "other": other,
            "block_size": block_size,
        }
    )[:32]


def block_address(spec: KernelSpec, precision: Precision, rows: str, columns: str) -> str:
    """Return the address of a block, the same in every Gram matrix that holds it.

    Parameters
    ----------
    spec : KernelSpec
        With one kernel.
    precision : {"float32", "mixed", "float64"}
        How the numbers are computed.
    rows, columns : str
        Digests of the ranges of items (:meth:`gramserve.store.DatasetStore.range_digest`).

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return digest_of(
        {
            "format": FORMAT,
            "code": KERNEL_CODE_VERSION,
            "kernel": spec.canonical(),
            "precision": precision,
            "rows": rows,
            "columns": columns,
        }
    )
