"""What an API key may do.

``read`` sees everything, ``submit`` also uploads data sets and asks for and cancels jobs,
``admin`` also deletes and manages keys. Each includes the ones before it.
"""

from collections.abc import Iterable

from gramserve.errors import SpecError

SCOPES: tuple[str, ...] = ("read", "submit", "admin")
"""All scopes, the weakest first; each implies those before it."""


def allows(granted: Iterable[str], wanted: str) -> bool:
    """Return whether one of the granted scopes includes the wanted one.

    Parameters
    ----------
    granted : iterable of str
        Scopes of a key.
    wanted : str
        Scope that an action needs.

    Returns
    -------
    bool

    Raises
    ------
    SpecError
        When ``wanted`` is no scope.

    Examples
    --------
    >>> allows(["submit"], "read"), allows(["submit"], "admin")
    (True, False)
    """
    (wanted,) = check_scopes([wanted])
    return any(SCOPES.index(scope) >= SCOPES.index(wanted) for scope in granted if scope in SCOPES)


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes without repeats, the weakest first.

    Parameters
    ----------
    scopes : iterable of str
        At least one of :data:`SCOPES`.

    Returns
    -------
    tuple of str

    Raises
    ------
    SpecError
        When there is none, or one that does not exist.

    Examples
    --------
    >>> check_scopes(["submit", "read", "submit"])
    ('read', 'submit')
    """
    wanted = set(scopes)
    unknown = sorted(wanted - set(SCOPES))
    if unknown or not wanted:
        found = ", ".join(map(repr, unknown)) if unknown else "none at all"
        raise SpecError(
            f"scopes: {found}; known scopes are {', '.join(SCOPES)}",
            errors=[{"loc": "scopes", "message": f"{name!r} is no scope"} for name in unknown],
        )
    return tuple(scope for scope in SCOPES if scope in wanted)
