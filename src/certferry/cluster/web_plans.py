"""Import plans that were shown and may be carried out, kept so that any server of the cluster can, also a new one."""

from datetime import datetime

from sqlalchemy import delete, insert, select

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.sightings import stamp

_TABLE = schema.web_plan


class WebPlans:
    """The plans of one cluster, as bytes. Time is a parameter; nothing here is audited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, identifier: str, body: bytes, now: datetime, made_before: datetime, most: int) -> None:
        """Keep a plan; those made before a time go, and the oldest beyond ``most``."""
        latest = select(_TABLE.c.id).order_by(_TABLE.c.made_at.desc(), _TABLE.c.id.desc())
        with self._database.write() as connection:
            connection.execute(delete(_TABLE).where(_TABLE.c.made_at <= stamp(made_before)))
            old = list(connection.scalars(latest.offset(most - 1)))
            connection.execute(delete(_TABLE).where(_TABLE.c.id.in_(old)))
            connection.execute(insert(_TABLE), {"id": identifier, "made_at": stamp(now), "body": body})

    def find(self, identifier: str, made_after: datetime) -> bytes | None:
        """The plan of that id; None when there is none, or it is too old."""
        wanted = (_TABLE.c.id == identifier) & (_TABLE.c.made_at > stamp(made_after))
        with self._database.read() as connection:
            return connection.scalar(select(_TABLE.c.body).where(wanted))

    def forget(self, identifier: str) -> None:
        """Take a plan away: it was carried out."""
        with self._database.write() as connection:
            connection.execute(delete(_TABLE).where(_TABLE.c.id == identifier))
