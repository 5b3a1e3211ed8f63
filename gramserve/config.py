"""Settings of a server: the only reader of the server's environment.

Every field is an environment variable with the prefix ``GRAMSERVE_``, for example
``GRAMSERVE_DATA_DIR``; the command line overrides them. ``docs/operations.md`` lists them, and
a test keeps that list complete.
"""

from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from gramserve.machine import physical_memory_bytes, usable_cores

_GIB = 2**30


class Settings(BaseSettings):
    """Everything an operator may set."""

    model_config = SettingsConfigDict(env_prefix="GRAMSERVE_", extra="ignore", frozen=True)

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("gramserve"))
    """State directory: data sets, Gram matrices, the SQLite catalog."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8750
    """Port to listen on; 0 takes a free one."""
    api_key: SecretStr | None = None
    """First admin key; generated and printed once when not given."""
    database_url: str | None = None
    """SQLAlchemy URL of the catalog; SQLite in the state directory when not given."""
    scheduler_address: str | None = None
    """Address of a Dask scheduler; a LocalCluster of this machine when not given."""
    workers: Annotated[int, Field(ge=0)] = Field(default_factory=usable_cores)
    """Worker processes of the LocalCluster, where it has not one for each card; the usable CPU
    cores when not given. 0 computes in threads of the server, one block at a time: for tests and
    tiny machines."""
    threads_per_worker: Annotated[int, Field(ge=1)] = 1
    """Threads of each worker of the LocalCluster."""
    engine_threads: Annotated[int, Field(ge=1)] = 1
    """Threads that an engine uses for one block: one process with all cores, instead of one
    process for each, is GRAMSERVE_WORKERS=1 with as many of these as there are cores."""
    worker_memory_bytes: Annotated[int, Field(ge=2**20)] | None = None
    """Memory one worker may plan with; an equal share of 3/4 of the machine when not given."""
    engine: Literal["auto", "reference", "cpu", "cuda"] = "auto"
    """Engine that computes blocks."""
    concurrent_jobs: Annotated[int, Field(ge=1)] = 4
    """Jobs whose blocks are computed side by side."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = 16 * _GIB
    """Largest data set taken, or made from another one."""
    max_evaluate_bytes: Annotated[int, Field(ge=1)] = _GIB // 4
    """Largest body and largest answer of ``rows:evaluate``."""
    max_response_bytes: Annotated[int, Field(ge=1)] = 4 * _GIB
    """Largest answer of a row request."""
    row_cache_bytes: Annotated[int, Field(ge=0)] = _GIB // 4
    """Memory for the rows that were read last; 0 keeps none."""
    shutdown_timeout_s: Annotated[float, Field(ge=0)] = 10.0
    """Seconds that open requests get to end when the server stops."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much the server writes on standard error."""

    @property
    def memory_per_task_bytes(self) -> int:
        """Memory one task may plan with, in bytes: an equal share of a worker's."""
        worker = self.worker_memory_bytes
        if worker is None:
            worker = physical_memory_bytes() * 3 // 4 // max(self.workers, 1)
        return worker // self.threads_per_worker

    @property
    def catalog_place(self) -> str | Path:
        """Where the catalog is: the URL of a database, or the SQLite file."""
        # A path, not a URL of it: a directory may have a question mark in its name.
        return self.data_dir / "catalog.sqlite" if self.database_url is None else self.database_url
