"""Dispatchers and the Gram matrices they hold; leases that no clock is in."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dispatchers",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("home", sa.String(128)),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dispatchers"),
        sa.UniqueConstraint("home", name="uq_dispatchers_home"),
    )
    op.create_table(
        "gram_leases",
        sa.Column("gram", sa.String(64), nullable=False),
        sa.Column("dispatcher", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("gram", name="pk_gram_leases"),
        sa.ForeignKeyConstraint(
            ["dispatcher"],
            ["dispatchers.id"],
            name="fk_gram_leases_dispatcher_dispatchers",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_gram_leases_dispatcher", "gram_leases", ["dispatcher"])
    with op.batch_alter_table("jobs") as table:
        table.drop_column("lease_expires")
        table.add_column(sa.Column("dispatcher", sa.String(32)))
        table.create_index("ix_jobs_dispatcher", ["dispatcher"])


def downgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.drop_index("ix_jobs_dispatcher")
        table.drop_column("dispatcher")
        table.add_column(sa.Column("lease_expires", sa.DateTime(timezone=True)))
    op.drop_table("gram_leases")
    op.drop_table("dispatchers")
