"""The outermost command: every error becomes one message and one exit code."""

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from gramserve.cli import exits
from gramserve.cli.terminal import plain, problem
from gramserve.errors import GramserveError


class OutermostGroup(TyperGroup):
    """A Typer group that ends with gramserve's exit codes and never with a traceback.

    ``--debug`` is understood wherever it stands, and shows the traceback of an error.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line.

        Parameters
        ----------
        args : sequence of str, optional
            The command line without the program's name; the process's own when not given.
        prog_name, complete_var, windows_expand_args, **extra
            As in Typer.
        standalone_mode : bool
            End the process with the exit code instead of returning it.

        Returns
        -------
        int
            The exit code.
        """
        given = list(sys.argv[1:] if args is None else args)
        command_line, debug = _without_debug(given)

        def run() -> Any:
            return super(OutermostGroup, self).main(
                command_line, prog_name, complete_var, False, windows_expand_args, **extra
            )

        code = guarded(run, as_json="--json" in command_line, debug=debug)
        if standalone_mode:
            sys.exit(code)
        return code


def guarded(run: Callable[[], Any], *, as_json: bool, debug: bool) -> int:
    """Run a command and turn whatever ends it into messages and an exit code.

    Parameters
    ----------
    run : callable
        The command; an int that it returns is its exit code.
    as_json : bool
        Write the error as a problem on standard output too.
    debug : bool
        Write tracebacks.

    Returns
    -------
    int
        The exit code.
    """
    try:
        code = run()
    except GramserveError as error:
        return _report(error, exits.exit_code(error), as_json, debug)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return exits.INTERRUPTED
    except Exception as error:
        if hasattr(error, "format_message"):  # Typer's own errors of usage
            return _misused(error, as_json)
        wrapped = GramserveError(f"unexpected {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        code = _report(wrapped, exits.UNEXPECTED, as_json, debug)
        if not debug:
            print("run it again with --debug for the traceback", file=sys.stderr)
        return code
    return code if isinstance(code, int) else exits.OK


def _without_debug(given: list[str]) -> tuple[list[str], bool]:
    end = given.index("--") if "--" in given else len(given)
    command_line = [word for word in given[:end] if word != "--debug"]
    return command_line + given[end:], len(command_line) < end


def _report(error: GramserveError, code: int, as_json: bool, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"error: {error.message}", file=sys.stderr)
    if as_json:
        print(json.dumps(plain(problem(error, code)), indent=2, default=str))
    return code


def _misused(error: Any, as_json: bool) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return exits.USAGE
    command = getattr(error.ctx, "command_path", "gramserve") if hasattr(error, "ctx") else ""
    message = error.format_message()
    print(f"error: {message}\nsee `{command or 'gramserve'} --help`", file=sys.stderr)
    if as_json:
        body = {"title": "UsageError", "detail": message, "code": "usage"}
        print(json.dumps({"type": "about:blank", **body, "exit_code": exits.USAGE}, indent=2))
    return exits.USAGE
