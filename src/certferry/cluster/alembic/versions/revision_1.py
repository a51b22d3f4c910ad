"""The tables of the first release, as they were: never changed any more."""

from alembic import op
from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from certferry.cluster.dialects import order_by_bytes

revision = "1"
down_revision = None
metadata = MetaData()

fact = Table(
    "fact",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
    comment="single values: name, release, schema and change version",
)

parameter = Table(
    "parameter",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
    comment="enterprise parameters, as 'cluster set' takes them",
)

setting = Table(
    "setting",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", Text),
    Column("sealed", LargeBinary),
    comment="settings of certferry itself; a secret stands in 'sealed'",
)

node = Table(
    "node",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("address", String, nullable=False),
    Column("roles", String, nullable=False),
    Column("ports", Text, nullable=False),
)

certificate = Table(
    "certificate",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("der", LargeBinary, nullable=False),
    comment="every certificate once, whoever holds it",
)

identity = Table(
    "identity",
    metadata,
    Column("purpose", String, primary_key=True),
    Column("node", String, primary_key=True, comment="empty: shared by the whole cluster"),
    Column("sha256", ForeignKey(certificate.c.sha256), nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
)

signing_request = Table(
    "signing_request",
    metadata,
    Column("purpose", String, primary_key=True),
    Column("node", String, primary_key=True, comment="empty: one certificate for all nodes"),
    Column("pem", Text, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    comment="CSRs that wait for their certificate",
)

trust_entry = Table(
    "trust_entry",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("store", String, nullable=False),
    Column("sha256", ForeignKey(certificate.c.sha256), nullable=False),
    Column("origin", String, nullable=False),
    Column("description", Text, nullable=False),
    Column("added_at", String, nullable=False),
    UniqueConstraint("store", "sha256"),
)
Index("trust_entry_sha256", trust_entry.c.sha256)

history = Table(
    "history",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("at", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("changes", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("undone", Boolean, nullable=False, default=False),
)

audit = Table(
    "audit",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("line", Text, nullable=False),
    comment="append-only JSON lines, each with the hash of the one before",
)

trust_list = Table(
    "trust_list",
    metadata,
    Column("kind", String(3), primary_key=True),
    Column("node", String, primary_key=True, comment="empty for the CTL, which is one for the cluster"),
    Column("members", String(64), nullable=False, comment="digest of what the list was built from"),
    Column("data", LargeBinary, nullable=False),
)

group = Table(
    "callmanager_group",
    metadata,
    Column("name", String, primary_key=True),
    Column("members", Text, nullable=False),
)

phone = Table(
    "phone",
    metadata,
    Column("device", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("group", ForeignKey(group.c.name), nullable=False),
    Column("secure", Boolean, nullable=False),
    Column("description", Text, nullable=False),
)

served = Table(
    "served",
    metadata,
    Column("node", String, primary_key=True),
    Column("version", Integer, nullable=False),
    comment="which change version each node's services answer from",
)

certificate_text = Table(
    "certificate_text",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("searched", Text, nullable=False, comment="subject, issuer, serial, SHA-256"),
    Column("common_name", Text, nullable=False),
    Column("serial", String, nullable=False),
    Column("not_before", String, nullable=False),
    Column("not_after", String, nullable=False, index=True),
    Column("key", String, nullable=False),
    comment="what searches look at, copied out of the certificates; made anew when it is missing",
)

web_user = Table(
    "web_user",
    metadata,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("created_at", String, nullable=False),
)

web_token = Table(
    "web_token",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String, nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("expires_at", String),
)

order_by_bytes(metadata)


def upgrade() -> None:
    """Make them."""
    metadata.create_all(op.get_bind())
