"""Content addresses: what names a Gram matrix, its kernel, a block and a preprocessed data set."""

import hashlib
from collections.abc import Mapping
from typing import Any

from gramserve.spec.canonical import canonical_json, digest_of
from gramserve.spec.network import FORMAT, KernelSpec, Precision
from gramserve.spec.preprocessing import PreprocessingRecipe

KERNEL_CODE_VERSION = 2
"""Raised when a change makes engines return different numbers for the same spec."""

PREPROCESSING_CODE_VERSION = 1
"""Raised when a change makes a recipe give different numbers."""


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


def kernel_address(spec: KernelSpec, precision: Precision) -> str:
    """Return what names the function whose values a Gram matrix holds.

    Matrices of equal address hold the same number wherever they compare the same two items,
    whatever data sets they are of and however they are cut.

    Parameters
    ----------
    spec : KernelSpec
        With one kernel.
    precision : {"float32", "mixed", "float64"}
        How the numbers are computed.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return _function_address(spec.canonical(), precision, KERNEL_CODE_VERSION)


def described_kernel_address(description: Mapping[str, Any]) -> str:
    """Return the same for a stored Gram matrix, from what is written beside it.

    Parameters
    ----------
    description : mapping
        ``kernel``, ``precision`` and ``kernel_code_version`` of a stored matrix.

    Returns
    -------
    str
        Another one than :func:`kernel_address` gives when other code made the numbers.

    Raises
    ------
    KeyError
        When one of the three is not there.
    """
    return _function_address(
        description["kernel"], description["precision"], description["kernel_code_version"]
    )


def _function_address(kernel: Mapping[str, Any], precision: str, code_version: int) -> str:
    return digest_of(
        {"format": FORMAT, "code": code_version, "kernel": dict(kernel), "precision": precision}
    )


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
    return digest_of(_block_content(spec, precision, rows, columns))


def _block_content(
    spec: KernelSpec, precision: Precision, rows: str, columns: str
) -> dict[str, object]:
    return {
        "format": FORMAT,
        "code": KERNEL_CODE_VERSION,
        "kernel": spec.canonical(),
        "precision": precision,
        "rows": rows,
        "columns": columns,
    }


class BlockAddresses:
    """Addresses of many blocks of one kernel: what :func:`block_address` returns, sooner.

    Parameters
    ----------
    spec : KernelSpec
        With one kernel.
    precision : {"float32", "mixed", "float64"}
        How the numbers are computed.

    Notes
    -----
    The canonical form is written once. Digests are hexadecimal, so they stand in it as they are.
    """

    def __init__(self, spec: KernelSpec, precision: Precision) -> None:
        marks = "\x01", "\x02"
        whole = canonical_json(_block_content(spec, precision, *marks))
        # Keys are sorted, so columns come first; control characters are escaped everywhere else.
        head, rest = whole.split(b'"columns":"\\u0002"')
        middle, tail = rest.rsplit(b'"rows":"\\u0001"', 1)
        self._head, self._tail = head + b'"columns":"', b'"' + tail
        self._middle = b'"' + middle + b'"rows":"'

    def of(self, rows: str, columns: str) -> str:
        """Return the address of a block.

        Parameters
        ----------
        rows, columns : str
            Digests of the ranges of items.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        parts = self._head, columns.encode(), self._middle, rows.encode(), self._tail
        return hashlib.sha256(b"".join(parts)).hexdigest()


def derived_address(recipe: PreprocessingRecipe, source: str, fit: str | None, dtype: str) -> str:
    """Return the digest of a preprocessed data set: a hash of all that decides its content.

    Parameters
    ----------
    recipe : PreprocessingRecipe
        What is done.
    source : str
        Digest of the data set whose items are taken.
    fit : str or None
        Digest of the data set that steps are fitted on; None when no step is.
    dtype : {"float32", "float64"}
        What the result is stored in.

    Returns
    -------
    str
        64 hexadecimal digits, the same wherever the same thing is asked for.

    Notes
    -----
    Content computed on another machine may differ in its last bits, as with the engines of a
    Gram matrix. Items themselves are still told apart by their bytes.
    """
    return digest_of(
        {
            "format": recipe.format,
            "code": PREPROCESSING_CODE_VERSION,
            "recipe": recipe.canonical(),
            "source": source,
            "fit": fit,
            "dtype": dtype,
        }
    )


def fit_address(recipe: PreprocessingRecipe, fit: str | None) -> str:
    """Return what names the constants of a recipe that was fitted on a data set.

    Parameters
    ----------
    recipe : PreprocessingRecipe
        What was fitted.
    fit : str or None
        Digest of the data set.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return digest_of(
        {
            "format": recipe.format,
            "code": PREPROCESSING_CODE_VERSION,
            "recipe": recipe.canonical(),
            "fit": fit,
        }
    )
