"""The first tables.

A step describes the tables as they were then and imports nothing of today's: it must do the same
thing in ten years.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "datasets",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("shape", sa.JSON, nullable=False),
        sa.Column("dtype", sa.String(32), nullable=False),
        sa.Column("items", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_datasets"),
    )
    op.create_index("ix_datasets_created", "datasets", ["created"])
    op.create_table(
        "grams",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kernel", sa.String(16), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("precision", sa.String(16), nullable=False),
        sa.Column("dataset", sa.String(64), nullable=False),
        sa.Column("other", sa.String(64)),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("columns", sa.BigInteger, nullable=False),
        sa.Column("block_size", sa.Integer, nullable=False),
        sa.Column("symmetric", sa.Boolean, nullable=False),
        sa.Column("dtype", sa.String(32), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("blocks_total", sa.BigInteger, nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_grams"),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.digest"], name="fk_grams_dataset_datasets"),
        sa.ForeignKeyConstraint(["other"], ["datasets.digest"], name="fk_grams_other_datasets"),
    )
    for column in ("dataset", "other", "created"):
        op.create_index(f"ix_grams_{column}", "grams", [column])
    op.create_table(
        "keys",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.Column("expires", moment),
        sa.Column("last_used", moment),
        sa.Column("revoked", moment),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("hash", name="uq_keys_hash"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("dataset", sa.String(64), nullable=False),
        sa.Column("other", sa.String(64)),
        sa.Column("precision", sa.String(16), nullable=False),
        sa.Column("block_size", sa.Integer, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("engine", sa.String(32)),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("lease_expires", moment),
        sa.Column("blocks_total", sa.BigInteger, nullable=False),
        sa.Column("blocks_done", sa.BigInteger, nullable=False),
        sa.Column("blocks_reused", sa.BigInteger, nullable=False),
        sa.Column("blocks_failed", sa.BigInteger, nullable=False),
        sa.Column("waiting_reason", sa.Text),
        sa.Column("error", sa.JSON),
        sa.Column("idempotency_digest", sa.String(64)),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(32)),
        sa.Column("created", moment, nullable=False),
        sa.Column("started", moment),
        sa.Column("finished", moment),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("idempotency_digest", name="uq_jobs_idempotency_digest"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name="fk_jobs_key_id_keys"),
    )
    for column in ("dataset", "other", "created"):
        op.create_index(f"ix_jobs_{column}", "jobs", [column])
    op.create_index("ix_jobs_state_priority_created", "jobs", ["state", "priority", "created"])
    op.create_table(
        "job_grams",
        sa.Column("job", sa.String(32), nullable=False),
        sa.Column("kernel", sa.String(16), nullable=False),
        sa.Column("gram", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("job", "kernel", name="pk_job_grams"),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name="fk_job_grams_job_jobs", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_job_grams_gram", "job_grams", ["gram"])
    op.create_table(
        "blocks",
        sa.Column("gram", sa.String(64), nullable=False),
        sa.Column("i", sa.Integer, nullable=False),
        sa.Column("j", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("address", sa.String(64)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("engine", sa.String(32)),
        sa.Column("device", sa.Text),
        sa.Column("code_version", sa.Integer),
        sa.Column("seconds", sa.Float),
        sa.Column("worker", sa.Text),
        sa.Column("checksum", sa.String(128)),
        sa.Column("finished", moment, nullable=False),
        sa.PrimaryKeyConstraint("gram", "i", "j", name="pk_blocks"),
        sa.ForeignKeyConstraint(
            ["gram"], ["grams.id"], name="fk_blocks_gram_grams", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_blocks_address", "blocks", ["address"])
    op.create_index("ix_blocks_gram_state", "blocks", ["gram", "state"])
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job", sa.String(32), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name="fk_events_job_jobs", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_job_seq", "events", ["job", "seq"])


def downgrade() -> None:
    for table in ("events", "blocks", "job_grams", "jobs", "keys", "grams", "datasets"):
        op.drop_table(table)
