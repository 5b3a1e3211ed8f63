"""Command lines run in this process."""

import json

from typer.testing import CliRunner

from gramserve.cli import app

KERNEL = {"preset": "cntk", "depth": 3}

OVERFLOW = json.dumps(
    {
        "layers": [
            {"type": "dense", "w_std": 1e15},
            {"type": "relu"},
            {"type": "dense", "w_std": 1e15},
        ]
    }
)
"""A kernel whose values are too large for float32."""


def gramserve(*words, environment=None):
    """Run a command line in this process."""
    return CliRunner(env=environment).invoke(app, [str(word) for word in words])


def data_of(result):
    """Return the JSON of a command that succeeded."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
