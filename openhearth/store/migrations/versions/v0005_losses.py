"""Count how often work was lost with its worker, apart from its failures. Runs before the code that needs it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the count; work that is there by now has lost no worker."""
    op.add_column("jobs", sa.Column("losses", sa.BigInteger(), nullable=False, server_default="0"))
