"""Names that were not understood, and the nearest ones that would have been."""

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or the list of all.

    Parameters
    ----------
    name : object
        What was given.
    known : iterable of str
        What would have been understood.

    Returns
    -------
    str
        The end of a sentence, starting with a semicolon.

    Examples
    --------
    >>> nearest("strids", ["size", "strides"])
    "; did you mean 'strides'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(names)}"
