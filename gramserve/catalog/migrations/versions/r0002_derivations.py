"""How data sets were made from others."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "derivations",
        sa.Column("dataset", sa.String(64), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("fit", sa.String(64)),
        sa.Column("recipe", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("dataset", name="pk_derivations"),
        sa.ForeignKeyConstraint(
            ["dataset"],
            ["datasets.digest"],
            name="fk_derivations_dataset_datasets",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_derivations_source", "derivations", ["source"])
    op.create_index("ix_derivations_fit", "derivations", ["fit"])


def downgrade() -> None:
    op.drop_table("derivations")
