"""The whole path on real images: server, upload, plan, job, rows, regression, picture."""

from gramserve.demo.run import run

__all__ = ["run"]
