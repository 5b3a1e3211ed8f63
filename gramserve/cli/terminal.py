"""Where a command writes: data on standard output, words for people on standard error."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gramserve.errors import GramserveError


class Terminal:
    """The two streams of a command.

    Parameters
    ----------
    as_json : bool
        Write data as JSON instead of tables.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def data(self, value: Any, text: str) -> None:
        """Write the result.

        Parameters
        ----------
        value : JSON value, pydantic model or list of models
            For programs.
        text : str
            The same for people.
        """
        print(json.dumps(plain(value), indent=2) if self.as_json else text)

    def say(self, words: str) -> None:
        """Tell people something; never data.

        Parameters
        ----------
        words : str
            One or more lines.
        """
        print(words, file=sys.stderr)

    @property
    def shows_progress(self) -> bool:
        """Whether somebody watches standard error."""
        return sys.stderr.isatty()


def plain(value: Any) -> Any:
    """Return a value as JSON can write it.

    Parameters
    ----------
    value : JSON value, pydantic model or sequence of them
        Anything a command answers.

    Returns
    -------
    object
        Dicts, lists, strings, numbers, booleans and None.
    """
    if hasattr(value, "model_dump"):  # asked for so: pydantic takes a moment to import
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def problem(error: GramserveError, code: int) -> dict[str, Any]:
    """Return an error as the server would write it, for ``--json``.

    Parameters
    ----------
    error : GramserveError
        What ended the command.
    code : int
        The exit code.

    Returns
    -------
    dict
        The members of a problem document that make sense without HTTP.
    """
    return {
        "type": "about:blank",
        "title": type(error).__name__,
        "detail": error.message,
        "code": error.code,
        "errors": error.errors,
        "context": error.context,
        "exit_code": code,
    }


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under aligned headings; nothing is cut off, whatever the width.

    Parameters
    ----------
    columns : sequence of str
        Headings.
    rows : iterable of sequence
        Cells.

    Returns
    -------
    str
        Lines without trailing spaces.

    Examples
    --------
    >>> print(table(["a", "bcd"], [[1, 2], [333, None]]))
    a    bcd
    1    2
    333  -
    """
    lines = [list(columns), *[["-" if cell is None else str(cell) for cell in row] for row in rows]]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
