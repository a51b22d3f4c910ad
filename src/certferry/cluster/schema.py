"""The tables of a cluster's database. One database holds one cluster."""

from sqlalchemy import (
    BigInteger,
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

SCHEMA_VERSION = 3
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
Index("trust_entry_origin", trust_entry.c.origin)

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

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("node", String, primary_key=True),
    Column("process", String, primary_key=True),
    Column("at", String, nullable=False),
    comment="which process serves which node, and when it said so last; who stops takes it back",
)

touched = Table(
    "touched",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("what", String, nullable=False),
    Column("key", String, nullable=False, comment="SHA-256 of a certificate, or a device; empty: all of them"),
    comment="what the latest changes touched, which running nodes read again",
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

certificate_name = Table(
    "certificate_name",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("name", String(32), nullable=False, index=True, comment="of the subject, see certificate_text.name_key"),
    comment="which certificates are namesakes; made anew when it is missing",
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

sighting = Table(
    "sighting",
    metadata,
    Column("device", String, primary_key=True),
    Column("step", String, primary_key=True, comment="what a node saw the phone do: see sightings.Step"),
    Column("at", String, nullable=False, index=True),
    Column("node", String, nullable=False),
    Column("address", String, nullable=False),
    Column("detail", Text, nullable=False),
    comment="where each phone was seen last at each step; told by the nodes in batches, never audited",
)

held_list = Table(
    "held_list",
    metadata,
    Column("device", String, primary_key=True),
    Column("ctl", String, nullable=False, comment="SHA-1 in hex as the phone said it; empty: not installed"),
    Column("itl", String, nullable=False, comment="SHA-1 in hex as the phone said it; empty: not installed"),
    Column("status_code", Integer, comment="of the DeviceTLInfo alarm; none: success"),
    Column("at", String, nullable=False),
    comment="which trust lists phones said they hold (phone-trust 4.6)",
)
Index("held_list_lists", held_list.c.ctl, held_list.c.itl, held_list.c.device)

reset_request = Table(
    "reset_request",
    metadata,
    Column("id", String, primary_key=True),
    Column("device", String, nullable=False, index=True),
    Column("asked_at", String, nullable=False),
    Column("asked_by", String, nullable=False, comment="the migration, or who asked by hand"),
    Column("node", String, nullable=False, comment="the node that took it; empty while nobody has"),
    Column("taken_at", String, comment="set before the phone is told, so that nobody else tells it again"),
    Column("ended_at", String),
    Column("outcome", String, nullable=False, comment="see resets.ResetOutcome; empty while it is open"),
    comment="phones that are to be reset, taken by the node at which they are registered",
)
Index("reset_request_open", reset_request.c.taken_at, reset_request.c.device)

service_counter = Table(
    "service_counter",
    metadata,
    Column("node", String, primary_key=True),
    Column("service", String, primary_key=True),
    Column("process", String, primary_key=True, comment="counts begin anew with each process"),
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
    Column("at", String, nullable=False),
    comment="what the nodes' services counted, for those who watch",
)

migration = Table(
    "migration",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("destination", Text, nullable=False, comment="where the other cluster is kept"),
    Column("plan", Text, nullable=False, comment="settings as JSON: canary, wave size, pace, threshold"),
    Column("state", String, nullable=False),
    Column("wanted", String, nullable=False, comment="what an operator asked of the runner: see migrations.Wanted"),
    Column("reason", Text, nullable=False),
    Column("runner", String, nullable=False, comment="who steers it now; empty: nobody"),
    Column("runner_until", String, nullable=False, comment="the runner is taken for dead after this"),
    comment="migrations of this cluster's phones to another cluster",
)

migration_phone = Table(
    "migration_phone",
    metadata,
    Column("migration", ForeignKey(migration.c.id), primary_key=True),
    Column("device", String, primary_key=True),
    Column("wave", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("reset_at", String),
    Column("ended_at", String),
    Column("code", String, nullable=False),
    Column("reason", Text, nullable=False),
)
_MOVING = migration_phone.c
Index("migration_phone_order", _MOVING.migration, _MOVING.wave, _MOVING.device, _MOVING.state)
Index("migration_phone_state", _MOVING.migration, _MOVING.state, _MOVING.ended_at)

migration_event = Table(
    "migration_event",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("migration", ForeignKey(migration.c.id), nullable=False, index=True),
    Column("at", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("details", Text, nullable=False),
    comment="what happened in a migration, in order",
)

web_session = Table(
    "web_session",
    metadata,
    Column("key", String(64), primary_key=True, comment="SHA-256 of the id in the cookie"),
    Column("user", String, nullable=False, index=True),
    Column("credential", Text, nullable=False, comment="the password hash at login; another one ends the session"),
    Column("csrf", String, nullable=False),
    Column("begun", String, nullable=False),
    Column("seen", String, nullable=False),
)

web_job = Table(
    "web_job",
    metadata,
    Column("id", String, primary_key=True),
    Column("key", String, unique=True, comment="idempotency key"),
    Column("kind", String, nullable=False),
    Column("cluster", String, nullable=False),
    Column("user", String, nullable=False),
    Column("asked", Text, nullable=False),
    Column("writes", Boolean, nullable=False),
    Column("state", String, nullable=False, comment="same: another key for the job whose id is the result"),
    Column("runner", String, nullable=False, comment="the server that runs it"),
    Column("runner_until", String, nullable=False, comment="the runner is taken for dead after this"),
    Column("progress", Text),
    Column("started_at", String, nullable=False, index=True),
    Column("ended_at", String),
    Column("result", Text),
    Column("error", Text),
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

order_by_bytes(metadata)
