"""What several web servers of one cluster must know of each other, namesakes, and indexes in the order of lists."""

from alembic import op
from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, Text

from certferry.cluster.dialects import order_by_bytes

revision = "3"
down_revision = "2"
metadata = MetaData()

certificate_name = Table(
    "certificate_name",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("name", String(32), nullable=False, index=True, comment="of the subject, see certificate_text.name_key"),
    comment="which certificates are namesakes; made anew when it is missing",
)

web_plan = Table(
    "web_plan",
    metadata,
    Column("id", String, primary_key=True),
    Column("made_at", String, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
    comment="import plans that were shown and may be carried out",
)

web_outcome = Table(
    "web_outcome",
    metadata,
    Column("user", String, primary_key=True),
    Column("key", String(64), primary_key=True, comment="SHA-256 of the form's key"),
    Column("at", String, nullable=False, index=True),
    Column("runner", String, nullable=False, comment="the server that does it"),
    Column("runner_until", String, nullable=False, comment="the runner is taken for dead after this"),
    Column("outcome", Text, comment="JSON; none while it is being done"),
    comment="what the changes came to that forms asked for, so that each is done once",
)

web_secret = Table(
    "web_secret",
    metadata,
    Column("user", String, primary_key=True),
    Column("key", String(64), primary_key=True, comment="SHA-256 of the form's key"),
    Column("at", String, nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
    comment="what was typed into a form in secret, until the form is through",
)

web_try = Table(
    "web_try",
    metadata,
    Column("key", String(64), primary_key=True, comment="SHA-256 of whom it counts: a user, an address"),
    Column("at", String, nullable=False, index=True),
    Column("tries", Integer, nullable=False),
    Column("taken", Text, nullable=False, comment="milliseconds since 1970 of each try"),
    comment="logins that were tried lately, so that a limit holds at all servers",
)

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("node", String, primary_key=True),
    Column("process", String, primary_key=True),
    Column("at", String, nullable=False),
    comment="which process serves which node, and when it said so last; who stops takes it back",
)

order_by_bytes(metadata)

INDEXES = {
    "trust_entry_origin": ("trust_entry", ["origin"]),
    "held_list_lists": ("held_list", ["ctl", "itl", "device"]),
    "migration_phone_order": ("migration_phone", ["migration", "wave", "device", "state"]),
    "migration_phone_state": ("migration_phone", ["migration", "state", "ended_at"]),
}


def upgrade() -> None:
    """Make them; the index that the new ones replace goes."""
    metadata.create_all(op.get_bind())
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)
    op.drop_index("migration_phone_wave", "migration_phone")
