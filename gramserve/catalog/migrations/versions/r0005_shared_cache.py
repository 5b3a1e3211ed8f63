"""The shared cache: whose numbers a block has, how matrices are used, and which are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("grams") as table:
        table.add_column(sa.Column("kernel_address", sa.String(64)))
        table.add_column(sa.Column("last_used", sa.DateTime(timezone=True)))
        table.add_column(
            sa.Column("rows_served", sa.BigInteger(), nullable=False, server_default="0")
        )
        table.add_column(sa.Column("verified", sa.DateTime(timezone=True)))
        table.add_column(sa.Column("audit", sa.JSON(none_as_null=True)))
    op.create_index("ix_grams_kernel_address", "grams", ["kernel_address"])
    with op.batch_alter_table("blocks") as table:
        table.add_column(sa.Column("adopted_from", sa.JSON(none_as_null=True)))
    op.create_table(
        "pins",
        sa.Column("gram", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("gram", "key_id", name="pk_pins"),
        sa.ForeignKeyConstraint(
            ["gram"], ["grams.id"], name="fk_pins_gram_grams", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name="fk_pins_key_id_keys"),
    )


def downgrade() -> None:
    op.drop_table("pins")
    with op.batch_alter_table("blocks") as table:
        table.drop_column("adopted_from")
    op.drop_index("ix_grams_kernel_address", table_name="grams")
    with op.batch_alter_table("grams") as table:
        for name in ("audit", "verified", "rows_served", "last_used", "kernel_address"):
            table.drop_column(name)
