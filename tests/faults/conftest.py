"""One server with two workers and a table of faults, for the tests that need not kill it."""

import os
import sys
from pathlib import Path

import pytest
from fault_table import FaultTable
from live_server import LiveServer
from talk import Talk


@pytest.fixture(scope="package")
def faulty(tmp_path_factory):
    folder = Path(tmp_path_factory.mktemp("faulty"))
    server = LiveServer(
        folder / "state",
        workers=2,
        module="faulty_server",
        words=("--engine", "reference"),
        PYTHONPATH=os.pathsep.join(filter(None, sys.path)),
    )
    with server:
        yield server


@pytest.fixture
def table(faulty):
    table = FaultTable(faulty.data_dir)
    table.pause(0)
    yield table
    table.pause(0)


@pytest.fixture
def talk(faulty):
    with Talk(faulty) as talk:
        yield talk
