"""Which visitor has looked at what."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "views",
        sa.Column("visitor", sa.Text, primary_key=True),
        sa.Column("product", sa.BigInteger, primary_key=True),
    )


def downgrade() -> None:
    op.drop_table("views")
