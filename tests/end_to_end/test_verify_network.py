"""What verification costs and finds on a network that is large, partly dead, or speaks on 8443."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certferry.cluster.cluster import Cluster
from certferry.fleet import tvs
from certferry.fleet.dial import client_context
from certferry.lab.keys import PooledKeys
from certferry.lab.lab import tftp_servers
from certferry.lab.pair import Pair, drop, own
from certferry.migrate import survey, verify_emcc
from certferry.migrate.gather import Looking, Reach
from certferry.migrate.place import Place
from certferry.migrate.rehearse import choose_phones
from certferry.migrate.result import Verification
from certferry.migrate.verify import verify
from certferry.phone.events import Address
from certferry.serve.tls import server_context
from certferry.trust.purpose import Purpose, Store
from certferry.wire.certificate import Certificate
from certferry.wire.tvs import Request


async def verified(pair: Pair, *, inside: bool = False, looking: Looking | None = None) -> Verification:
    def place(cluster: Cluster) -> Place:
        host, port = tftp_servers(cluster)[0]
        return Place.of_cluster(cluster) if inside else Place.parse([f"{host}:{port}"])

    here, there = place(pair.source), place(pair.destination)
    phones = choose_phones(here, [pair.phone.device], None)
    return await verify(here, there, phones, looking or Looking(), now=datetime.now(UTC))


def of(result: Verification, identifier: str) -> list[str]:
    return [check.verdict for check in result.checks if check.id == identifier]


async def test_a_dead_tvs_is_asked_once_however_many_signers_there_are(
    tmp_path: Path, key_pool: PooledKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Address] = []

    async def counted(address: Address, request: Request, **options: object) -> tvs.TvsAnswer:
        asked.append(address)
        return await tvs.ask(address, request, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(survey, "ask", counted)
    async with Pair.opened(tmp_path, key_pool, nodes=3) as pair:
        await pair.exchange()
        dead = pair.source.nodes()[2]
        await pair.stop(dead.name)
        result = await verified(pair)
    assert sum(address[0] == dead.address for address in asked) == 1
    assert len(asked) == 1 + 2 * 4
    assert sorted(of(result, "tvs.reachable")) == ["pass", "pass", "warn"]
    assert of(result, "tvs.vouches").count("unknown") == 4


async def test_no_more_questions_are_open_than_allowed(
    tmp_path: Path, key_pool: PooledKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_open, most = 0, 0

    async def counted(address: Address, request: Request, **options: object) -> tvs.TvsAnswer:
        nonlocal now_open, most
        now_open += 1
        most = max(most, now_open)
        try:
            return await tvs.ask(address, request, **options)  # type: ignore[arg-type]
        finally:
            now_open -= 1

    monkeypatch.setattr(survey, "ask", counted)
    async with Pair.opened(tmp_path, key_pool, nodes=3) as pair:
        await pair.exchange()
        result = await verified(pair, looking=Looking.with_reach(replace(Reach(), at_once=2)))
    assert result.ok
    assert most == 2


@pytest.mark.slow
async def test_21_nodes_on_each_side_are_one_matrix(tmp_path: Path) -> None:
    async with Pair.opened(tmp_path, PooledKeys(120), nodes=21, releases=("11.5.1", "11.5.1")) as pair:
        await pair.exchange()
        result = await verified(pair)
    assert result.ok
    assert of(result, "tvs.vouches") == ["pass"] * 21 * 22


# EMCC


@asynccontextmanager
async def tomcat(cluster: Cluster) -> AsyncIterator[None]:
    """Let the publisher present its tomcat certificate on 8443."""
    identity = cluster.identity(Purpose.TOMCAT)
    pem = cluster.private_key(identity).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context: ssl.SSLContext = server_context(identity.certificate.pem, pem)

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, cluster.publisher.address, 8443, ssl=context)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def test_emcc_is_asked_of_tvs_when_8443_presents_a_certificate(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool, nodes=1) as pair, tomcat(pair.source), tomcat(pair.destination):
        before = await verified(pair)
        await pair.exchange()
        after = await verified(pair)
    assert of(before, "emcc.tomcat") == ["warn", "warn"]
    assert of(after, "emcc.tomcat") == ["pass", "pass"]


async def test_emcc_is_proven_by_a_handshake_when_the_stores_are_open(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool, nodes=1) as pair, tomcat(pair.source), tomcat(pair.destination):
        await pair.exchange()
        result = await verified(pair, inside=True)
        drop(pair.destination, Store.TOMCAT_TRUST, [each.certificate for each in own(pair.source, Purpose.TOMCAT)])
        without = await verified(pair, inside=True)
    told = [check.evidence for check in result.checks if check.id == "emcc.tomcat"]
    assert all("a handshake on 8443 verifies" in evidence for evidence in told)
    assert of(without, "emcc.tomcat") == ["warn", "pass"]
    assert any("does not verify" in check.evidence for check in without.checks if check.id == "emcc.tomcat")


async def test_of_a_large_tomcat_trust_only_what_the_server_presents_is_loaded(
    tmp_path: Path, key_pool: PooledKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []

    def counted(trusted: Iterable[Certificate] | None, **options: Any) -> ssl.SSLContext:
        chosen = None if trusted is None else list(trusted)
        loaded.append(len(chosen or ()))
        return client_context(chosen, **options)

    monkeypatch.setattr(verify_emcc, "client_context", counted)
    async with Pair.opened(tmp_path, key_pool, nodes=2) as pair, tomcat(pair.source), tomcat(pair.destination):
        await pair.exchange()
        assert len(pair.source.trust_entries(Store.TOMCAT_TRUST)) > 1
        result = await verified(pair, inside=True)
    told = [check.evidence for check in result.checks if check.id == "emcc.tomcat"]
    assert sum("a handshake on 8443 verifies" in evidence for evidence in told) == 2
    assert max(loaded) == 1
