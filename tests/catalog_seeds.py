"""What tests put into a catalog: a data set, a Gram matrix, jobs."""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import text

from gramserve.catalog import Catalog, JobRecord
from gramserve.catalog.database import build_engine
from gramserve.catalog.place import parse_place

POSTGRES = os.environ.get("GRAMSERVE_TEST_DATABASE_URL")
DATABASES = ["sqlite", *(["postgresql"] if POSTGRES else [])]
"""Kinds of databases to test on; PostgreSQL when GRAMSERVE_TEST_DATABASE_URL names one."""

DIGEST = "d" * 64
SPEC: dict[str, Any] = {"format": "gramserve.kernel/1", "layers": [{"type": "relu"}]}


async def new_database(kind: str, folder: Path) -> str:
    """Return where an empty database of a kind is; that of PostgreSQL is emptied."""
    if kind == "sqlite" or POSTGRES is None:
        return str(folder / "catalog.sqlite")
    engine = build_engine(parse_place(POSTGRES))
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
    return POSTGRES


async def add_dataset(catalog: Catalog, digest: str = DIGEST) -> None:
    await catalog.record_dataset(digest, shape=(9, 8, 8, 3), dtype="uint8", items=9, bytes=1728)


async def add_gram(catalog: Catalog, gram: str = "g" * 32, **fields: Any) -> str:
    await add_dataset(catalog, fields.get("dataset", DIGEST))
    known: dict[str, Any] = {
        "kernel": "nngp",
        "spec": SPEC,
        "precision": "float32",
        "dataset": DIGEST,
        "rows": 9,
        "columns": 9,
        "block_size": 4,
        "symmetric": True,
        "dtype": "float32",
        "path": "grams/g",
        "blocks_total": 6,
    }
    await catalog.record_gram(gram, **(known | fields))
    return gram


async def add_job(catalog: Catalog, gram: str = "g" * 32, **fields: Any) -> JobRecord:
    known: dict[str, Any] = {
        "spec": SPEC,
        "grams": {"nngp": gram},
        "dataset": DIGEST,
        "precision": "float32",
        "block_size": 4,
    }
    job, _ = await catalog.create_job(**(known | fields))
    return job


async def open_dispatcher(catalog: Catalog, **how: Any) -> str:
    """Open a dispatcher and return its id."""
    dispatcher, _ = await catalog.open_dispatcher(**how)
    return dispatcher


async def claim(catalog: Catalog, **how: Any) -> JobRecord | None:
    """Claim the next job as a dispatcher of its own, which holds nothing else."""
    return await catalog.claim_next(dispatcher=await open_dispatcher(catalog), **how)


async def run_job(catalog: Catalog, job: JobRecord) -> JobRecord:
    """Claim a job, the only queued one, and let it run."""
    claimed = await claim(catalog)
    if claimed is None or claimed.id != job.id:
        raise LookupError(f"job {job.id} is not next in the queue")
    return await catalog.transition(job.id, "running", epoch=claimed.epoch)
