"""What the tests of the web share: a site with its users, and a browser-like client that talks to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from argon2 import PasswordHasher
from fastapi import FastAPI

from certferry.cluster.accounts import Role
from certferry.cluster.cluster import Cluster
from certferry.web.app import create_app
from certferry.web.context import WebContext
from certferry.web.passwords import make_token

PASSWORD = "gates-of-dawn-1967"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
START = datetime(2026, 6, 1, 8, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Site:
    """A web application without sockets; ``ann`` may change things, ``bob`` may look."""

    cluster: Cluster
    others: dict[str, Cluster] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    with_users: bool = True

    def __post_init__(self) -> None:
        self.context = WebContext(self.cluster, self.others, clock=self.clock)
        self.context.exchanges.idle = 0  # nobody closes connections of a site that just goes away
        self.context.passwords.hasher = CHEAP
        if self.with_users:
            self.context.passwords.put_user("ann", Role.OPERATOR, PASSWORD)
            self.context.passwords.put_user("bob", Role.READ_ONLY, PASSWORD)
        self.app: FastAPI = create_app(self.context)

    def restart(self) -> None:
        """Let the server start anew: what it kept in memory is gone."""
        self.context = WebContext(self.cluster, self.others, clock=self.clock)
        self.context.exchanges.idle = 0  # nobody closes connections of a site that just goes away
        self.context.passwords.hasher = CHEAP
        self.app = create_app(self.context)

    def token(self, role: Role = Role.OPERATOR) -> str:
        token, text = make_token("test", role, "ann", self.clock(), None)
        self.cluster.accounts.put_token(token)
        return text

    def visitor(self, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="https://pub", headers=headers)

    @asynccontextmanager
    async def logged_in(self, name: str = "ann") -> AsyncIterator[httpx.AsyncClient]:
        async with self.visitor() as client:
            answer = await client.post("/api/v1/session", json={"name": name, "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            client.headers["x-csrf-token"] = answer.json()["csrf_token"]
            yield client

    @asynccontextmanager
    async def with_token(self, role: Role = Role.OPERATOR) -> AsyncIterator[httpx.AsyncClient]:
        async with self.visitor(authorization=f"Bearer {self.token(role)}") as client:
            yield client

    async def ended(self) -> None:
        """Wait until no job runs."""
        await self.app.state.jobs.finish()


def error_of(answer: httpx.Response) -> Any:
    """The error of an answer, which has the one form."""
    error = answer.json()["error"]
    assert set(error) == {"code", "sentence", "remedy", "fields"}
    return error
