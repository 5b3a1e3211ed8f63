"""How objects of the client look in a terminal and in a notebook."""

from collections.abc import Iterable, Mapping
from html import escape

type Facts = Mapping[str, object]


def html_card(title: str, facts: Facts) -> str:
    """Return a small table, every word of it escaped.

    Parameters
    ----------
    title : str
        Its heading.
    facts : mapping
        Name and value of each row; rows whose value is None are left out.

    Returns
    -------
    str
        HTML.
    """
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(str(value))}</td></tr>'
        for name, value in facts.items()
        if value is not None
    )
    return f"<table><caption><b>{escape(title)}</b></caption><tbody>{rows}</tbody></table>"


def html_rows(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table with one row for each object, every word of it escaped.

    Parameters
    ----------
    title : str
        Its heading.
    columns : iterable of str
        Names of the columns.
    rows : iterable of iterable
        Cells.

    Returns
    -------
    str
        HTML.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<table><caption><b>{escape(title)}</b></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def text_card(title: str, facts: Facts) -> str:
    """Return the same as :func:`html_card` for a terminal.

    Parameters
    ----------
    title : str
        Its first line.
    facts : mapping
        Name and value of each line.

    Returns
    -------
    str
        Lines.
    """
    width = max((len(name) for name in facts), default=0)
    lines = [f"  {name:<{width}}  {value}" for name, value in facts.items() if value is not None]
    return "\n".join([title, *lines])


def size_text(count: float) -> str:
    """Return bytes as people read them.

    Parameters
    ----------
    count : float
        Bytes.

    Returns
    -------
    str
        For example ``"3.7 GiB"``.

    Examples
    --------
    >>> size_text(1536)
    '1.5 KiB'
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        count /= 1024
        if count < 1024 or unit == "TiB":
            break
    return f"{count:.1f} {unit}"


def duration_text(seconds: float) -> str:
    """Return a duration as people read it.

    Parameters
    ----------
    seconds : float
        Seconds.

    Returns
    -------
    str
        For example ``"2 h 5 min"``.

    Examples
    --------
    >>> duration_text(7500)
    '2 h 5 min'
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 1440:.1f} days"


def count_text(number: float) -> str:
    """Return a large number with its power of a thousand.

    Parameters
    ----------
    number : float
        Any count.

    Returns
    -------
    str
        For example ``"12.5 M"``.

    Examples
    --------
    >>> count_text(12_500_000)
    '12.5 M'
    """
    for power, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.1f} {letter}"
    return f"{number:.0f}"


def kernel_text(kernel: Mapping[str, object]) -> str:
    """Return an expanded kernel spec in a few words.

    Parameters
    ----------
    kernel : mapping
        Canonical spec.

    Returns
    -------
    str
        For example ``"ntk of 7 layers"``.
    """
    names = kernel.get("kernel", "?")
    asked = names if isinstance(names, str) else " and ".join(str(name) for name in _list(names))
    return f"{asked} of {len(_list(kernel.get('layers')))} layers"


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
