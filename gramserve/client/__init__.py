"""The notebook's door to a server: data sets, plans, jobs, and Gram matrices used like arrays.

Knows the words of :mod:`gramserve.spec` and the errors, and nothing of the server itself.
"""

from gramserve.client.cache import Cache
from gramserve.client.client import Client, connect
from gramserve.client.connection import DEFAULT_URL
from gramserve.client.datasets import Dataset, Datasets
from gramserve.client.gram import READ_LIMIT_BYTES, Gram
from gramserve.client.job import Job
from gramserve.client.plan import Plan

__all__ = [
    "DEFAULT_URL",
    "READ_LIMIT_BYTES",
    "Cache",
    "Client",
    "Dataset",
    "Datasets",
    "Gram",
    "Job",
    "Plan",
    "connect",
]
