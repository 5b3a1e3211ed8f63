"""The command line: `gramserve compute`, `serve`, `plan`, `submit` and the rest.

Data goes to standard output, words for people to standard error, and what happened into the
exit code (:mod:`gramserve.cli.exits`). Commands import what they need when they run, so that
help appears at once.
"""

from gramserve.cli.app import app, main

__all__ = ["app", "main"]
