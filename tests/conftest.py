"""What all tests stand on."""

import gc
import signal
import warnings

import pytest


def pytest_configure():
    """Let Ctrl-C reach the processes that tests start.

    A test run in the background of a script is started with SIGINT ignored, and every process
    below inherits that. A handler, unlike the ignoring, is not inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def lost_connections():
    """Collect here what HTTP clients and Dask leave open when their other side is killed.

    Connections that break at the wrong moment are dropped by those libraries without being
    closed. The garbage collector would say so later, in a test that has nothing to do with it.
    """
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
