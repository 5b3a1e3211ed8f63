"""The tables as this version of gramserve knows them.

``migrations/versions`` makes the same tables step by step; a test compares the two.
Ids of Gram matrices and digests of data sets are names of content. Where a job mentions them it
does so without a foreign key: what a job asked for stays readable after the thing was deleted.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from gramserve.catalog.times import UtcDateTime

# Constraints need names that every database agrees on, or a later migration cannot drop them.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts upwards by itself only in a column declared exactly INTEGER.
_Sequence = BigInteger().with_variant(Integer(), "sqlite")

datasets = Table(
    "datasets",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", Text),
    Column("shape", JSON, nullable=False),
    Column("dtype", String(32), nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created", UtcDateTime, nullable=False, index=True),
)

# Data sets that were made from others. Source and fit are no foreign keys: the store is the truth,
# and what somebody removed there must not keep a server from starting.
derivations = Table(
    "derivations",
    metadata,
    Column(
        "dataset",
        String(64),
        ForeignKey("datasets.digest", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("source", String(64), nullable=False, index=True),
    Column("fit", String(64), index=True),
    Column("recipe", JSON, nullable=False),
)

grams = Table(
    "grams",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kernel", String(16), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("precision", String(16), nullable=False),
    Column("dataset", String(64), ForeignKey("datasets.digest"), nullable=False, index=True),
    Column("other", String(64), ForeignKey("datasets.digest"), index=True),
    Column("rows", BigInteger, nullable=False),
    Column("columns", BigInteger, nullable=False),
    Column("block_size", Integer, nullable=False),
    Column("symmetric", Boolean, nullable=False),
    Column("dtype", String(32), nullable=False),
    Column("path", Text, nullable=False),
    Column("blocks_total", BigInteger, nullable=False),
    Column("created", UtcDateTime, nullable=False, index=True),
    Column("kernel_address", String(64), index=True),
    Column("last_used", UtcDateTime),
    Column("rows_served", BigInteger, nullable=False, server_default="0"),
    Column("verified", UtcDateTime),
    Column("audit", JSON(none_as_null=True)),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime),
    Column("last_used", UtcDateTime),
    Column("revoked", UtcDateTime),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("dataset", String(64), nullable=False, index=True),
    Column("other", String(64), index=True),
    Column("precision", String(16), nullable=False),
    Column("block_size", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("engine", String(32)),
    Column("epoch", Integer, nullable=False),
    # No foreign key: of a dispatcher that is gone, its jobs are found by its missing row.
    Column("dispatcher", String(32), index=True),
    Column("blocks_total", BigInteger, nullable=False),
    Column("blocks_done", BigInteger, nullable=False),
    Column("blocks_reused", BigInteger, nullable=False),
    Column("blocks_failed", BigInteger, nullable=False),
    Column("waiting_reason", Text),
    Column("error", JSON(none_as_null=True)),
    # Of the asker and the Idempotency-Key together: a unique pair would let two requests
    # without a key of their own through, because NULL never equals NULL.
    Column("idempotency_digest", String(64), unique=True),
    Column("request_digest", String(64), nullable=False),
    Column("key_id", String(32), ForeignKey("keys.id")),
    Column("created", UtcDateTime, nullable=False, index=True),
    Column("started", UtcDateTime),
    Column("finished", UtcDateTime),
    Index(None, "state", "priority", "created"),
)

# Who computes. A row is a live dispatcher; the beat only ever counts up, and no clock is in it.
dispatchers = Table(
    "dispatchers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("home", String(128), unique=True),
    Column("beat", BigInteger, nullable=False),
    Column("started", UtcDateTime, nullable=False),
)

# Which dispatcher computes a Gram matrix. The primary key is the lock.
gram_leases = Table(
    "gram_leases",
    metadata,
    Column("gram", String(64), primary_key=True),
    Column(
        "dispatcher",
        String(32),
        ForeignKey("dispatchers.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
)

job_grams = Table(
    "job_grams",
    metadata,
    Column("job", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("kernel", String(64), primary_key=True),
    Column("gram", String(64), nullable=False, index=True),
)

blocks = Table(
    "blocks",
    metadata,
    Column("gram", String(64), ForeignKey("grams.id", ondelete="CASCADE"), primary_key=True),
    Column("i", Integer, primary_key=True, autoincrement=False),
    Column("j", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("address", String(64), index=True),
    Column("attempts", Integer, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("engine", String(32)),
    Column("device", Text),
    Column("code_version", Integer),
    Column("seconds", Float),
    Column("worker", Text),
    Column("checksum", String(128)),
    Column("finished", UtcDateTime, nullable=False),
    Column("adopted_from", JSON(none_as_null=True)),
    Index(None, "gram", "state"),
)

pins = Table(
    "pins",
    metadata,
    Column("gram", String(64), ForeignKey("grams.id", ondelete="CASCADE"), primary_key=True),
    Column("key_id", String(32), ForeignKey("keys.id"), primary_key=True),
    Column("reason", Text),
    Column("created", UtcDateTime, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", _Sequence, primary_key=True),
    Column("job", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("data", JSON, nullable=False),
    Index(None, "job", "seq"),
    # Numbers of pruned events must never come back: streams resume by them.
    sqlite_autoincrement=True,
)
