"""Canonical JSON and the digests that name things."""

import hashlib
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Write a JSON value in its canonical form (RFC 8785).

    Keys are sorted, there is no white space, and numbers are written as ECMAScript does, so
    that ``1`` and ``1.0`` are the same bytes.

    Parameters
    ----------
    value : JSON value
        Dictionaries, lists, strings, finite numbers, booleans and None.

    Returns
    -------
    bytes
        UTF-8.

    References
    ----------
    RFC 8785, JSON Canonicalization Scheme.

    Examples
    --------
    >>> canonical_json({"b": 1.0, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    # Imported here so that the engines can be used where this package is not installed.
    import rfc8785  # noqa: PLC0415

    return bytes(rfc8785.dumps(value))


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value's canonical form.

    Parameters
    ----------
    value : JSON value
        What to name.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return hashlib.sha256(canonical_json(value)).hexdigest()
