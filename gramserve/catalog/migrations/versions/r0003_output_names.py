"""Names of Gram matrices of a job are longer than names of kernels: readouts have their own."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("job_grams") as table:
        table.alter_column("kernel", existing_type=sa.String(16), type_=sa.String(64))


def downgrade() -> None:
    with op.batch_alter_table("job_grams") as table:
        table.alter_column("kernel", existing_type=sa.String(64), type_=sa.String(16))
