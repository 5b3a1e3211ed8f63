"""The HTTP door: one FastAPI application over catalog, stores and workers.

The only room that knows FastAPI.
"""

from gramserve.service.app import create_app
from gramserve.service.server import serve

__all__ = ["create_app", "serve"]
