"""Jobs of the pages and the API, kept so that a restart forgets none, and several servers share one cluster.

One transaction decides what a wish becomes: the job that has its key already, the job that does the very same now, a
refusal because another job changes the same cluster, or a new job. A server holds a lease on the jobs it runs and
renews it; what is under way when the lease ends was broken off with its server.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from certferry.cluster import schema
from certferry.cluster.database import Database
from certferry.cluster.sightings import stamp

_TABLE = schema.web_job
_SAME = "same"
_LISTED = [column for column in _TABLE.c if column.name != "result"]


class JobState(StrEnum):
    """How a job stands. ``INTERRUPTED``: the server that ran it died."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work as it stood at a moment; ``asked``, ``progress``, ``result`` and ``error`` are JSON objects."""

    id: str
    kind: str
    cluster: str
    user: str
    asked: Mapping[str, Any]
    writes: bool
    started_at: datetime
    runner: str
    state: JobState = JobState.RUNNING
    ended_at: datetime | None = None
    progress: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.state is JobState.RUNNING

    def is_same_wish(self, other: "Job") -> bool:
        """Whether the other was asked for the very same."""
        return (self.kind, self.cluster, self.asked) == (other.kind, other.cluster, other.asked)

    def to_json(self) -> dict[str, Any]:
        """Describe the job for the API."""
        return {
            "id": self.id,
            "kind": self.kind,
            "cluster": self.cluster,
            "user": self.user,
            "asked": dict(self.asked),
            "state": self.state.value,
            "started_at": self.started_at.isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "progress": self.progress,
            "result": self.result,
            "error": self.error,
        }


class WebJobs:
    """The jobs of one cluster's servers. Time is a parameter."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, wish: Job, key: str | None, until: datetime, most: int) -> tuple[Job, Job | None]:
        """Return the job that a wish becomes, and what stands in its way: then nothing is kept, and it is the wish.

        A job that is returned with another id than the wish's was there before. The oldest of those that ended go
        when there are more than ``most``.
        """
        with self._database.write() as connection:
            if key is not None and (known := _by_key(connection, key)) is not None:
                return known, None
            running = _running(connection, wish.cluster)
            same = next((job for job in running if job.is_same_wish(wish)), None)
            if same is not None:
                if key is not None:
                    connection.execute(insert(_TABLE), _row(wish, key, until) | {"state": _SAME, "result": same.id})
                return same, None
            busy = next((job for job in running if job.writes), None) if wish.writes else None
            if busy is None:
                connection.execute(insert(_TABLE), _row(wish, key, until))
                _forget(connection, most)
            return wish, busy

    def renew(self, progress: Mapping[str, Mapping[str, Any] | None], runner: str, until: datetime) -> None:
        """Renew the lease on jobs, with how far each is."""
        with self._database.write() as connection:
            for identifier, told in progress.items():
                mine = (_TABLE.c.id == identifier) & (_TABLE.c.runner == runner)
                text = json.dumps(told) if told else None
                connection.execute(update(_TABLE).where(mine).values(runner_until=stamp(until), progress=text))

    def end(self, job: Job) -> None:
        """Keep how a job ended; what its own server says counts more than that others took it for broken off."""
        values = {
            "state": job.state.value,
            "ended_at": stamp(job.ended_at) if job.ended_at else None,
            "result": _text(job.result),
            "error": _text(job.error),
        }
        with self._database.write() as connection:
            connection.execute(update(_TABLE).where(_TABLE.c.id == job.id).values(**values))

    def interrupt(
        self, now: datetime, is_lost: Callable[[str, bool], bool], error: Mapping[str, Any]
    ) -> frozenset[str]:
        """End the jobs that ``is_lost`` says of, by their runner and whether its lease is over; return their ids."""
        lost = [each for each, runner, until in self._leases() if is_lost(runner, until <= stamp(now))]
        if lost:
            broken = (_TABLE.c.id.in_(lost)) & (_TABLE.c.state == JobState.RUNNING.value)
            values = {"state": JobState.INTERRUPTED.value, "ended_at": stamp(now), "error": json.dumps(error)}
            with self._database.write() as connection:
                connection.execute(update(_TABLE).where(broken).values(**values))
        return frozenset(lost)

    def find(self, identifier: str) -> Job | None:
        """The job of that id."""
        with self._database.read() as connection:
            row = connection.execute(_jobs().where(_TABLE.c.id == identifier)).one_or_none()
        return _job(row) if row else None

    def find_key(self, key: str) -> Job | None:
        """The job that was started with that idempotency key."""
        with self._database.read() as connection:
            return _by_key(connection, key)

    def latest(self, skip: int = 0, limit: int = 50, kind: str | None = None) -> tuple[Sequence[Job], int]:
        """Jobs without their results, the latest first, and how many there are."""
        query = select(*_LISTED).where(_TABLE.c.state != _SAME)
        if kind is not None:
            query = query.where(_TABLE.c.kind == kind)
        ordered = query.order_by(_TABLE.c.started_at.desc(), _TABLE.c.id.desc()).offset(skip).limit(limit)
        with self._database.read() as connection:
            total = connection.scalar(select(func.count()).select_from(query.subquery())) or 0
            return [_job(row) for row in connection.execute(ordered)], total

    def running(self, cluster: str) -> Sequence[Job]:
        """The jobs that run for a cluster."""
        with self._database.read() as connection:
            return _running(connection, cluster)

    def _leases(self) -> list[tuple[str, str, str]]:
        query = select(_TABLE.c.id, _TABLE.c.runner, _TABLE.c.runner_until)
        with self._database.read() as connection:
            found = connection.execute(query.where(_TABLE.c.state == JobState.RUNNING.value))
            return [(row.id, row.runner, row.runner_until) for row in found]


def _jobs() -> Select[Any]:
    return select(_TABLE).where(_TABLE.c.state != _SAME)


def _running(connection: Connection, cluster: str) -> list[Job]:
    query = _jobs().where(_TABLE.c.cluster == cluster, _TABLE.c.state == JobState.RUNNING.value)
    return [_job(row) for row in connection.execute(query.order_by(_TABLE.c.started_at, _TABLE.c.id))]


def _by_key(connection: Connection, key: str) -> Job | None:
    row = connection.execute(select(_TABLE).where(_TABLE.c.key == key)).one_or_none()
    if row is None or row.state != _SAME:
        return _job(row) if row else None
    meant = connection.execute(select(_TABLE).where(_TABLE.c.id == row.result)).one_or_none()
    return _job(meant) if meant else None


def _forget(connection: Connection, most: int) -> None:
    """Forget the oldest jobs that ended, and the keys that stood for them."""
    ended = select(_TABLE.c.id).where(_TABLE.c.state.not_in([_SAME, JobState.RUNNING.value]))
    old = list(connection.scalars(ended.order_by(_TABLE.c.started_at.desc(), _TABLE.c.id.desc()).offset(most - 1)))
    if old:
        connection.execute(delete(_TABLE).where(_TABLE.c.id.in_(old)))
        connection.execute(delete(_TABLE).where(_TABLE.c.state == _SAME, _TABLE.c.result.in_(old)))


def _row(job: Job, key: str | None, until: datetime) -> dict[str, Any]:
    return {
        "id": job.id,
        "key": key,
        "kind": job.kind,
        "cluster": job.cluster,
        "user": job.user,
        "asked": json.dumps(dict(job.asked), sort_keys=True),
        "writes": job.writes,
        "state": job.state.value,
        "runner": job.runner,
        "runner_until": stamp(until),
        "started_at": stamp(job.started_at),
    }


def _text(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _read(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _job(row: Row[Any]) -> Job:
    ended_at = datetime.fromisoformat(row.ended_at) if row.ended_at else None
    return Job(
        row.id, row.kind, row.cluster, row.user, json.loads(row.asked), row.writes,
        datetime.fromisoformat(row.started_at), row.runner, JobState(row.state), ended_at, _read(row.progress),
        _read(getattr(row, "result", None)), _read(row.error),
    )  # fmt: skip
