"""Sightings of phones, resets, counters, migrations, and what the pages must not forget."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

from certferry.cluster.alembic.versions import revision_1
from certferry.cluster.dialects import order_by_bytes

revision = "2"
down_revision = "1"
metadata = MetaData()

touched = Table(
    "touched",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("what", String, nullable=False),
    Column("key", String, nullable=False, comment="SHA-256 of a certificate, or a device; empty: all of them"),
    comment="what the latest changes touched, which running nodes read again",
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
Index("migration_phone_wave", migration_phone.c.migration, migration_phone.c.wave, migration_phone.c.state)

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

order_by_bytes(metadata)


def upgrade() -> None:
    """Make them, and those of the first release that were made when they were used first."""
    revision_1.metadata.create_all(op.get_bind())
    metadata.create_all(op.get_bind())
