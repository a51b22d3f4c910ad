"""``certferry serve`` as processes: the cluster learns what phones do, and phones are told to reset exactly once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.list_status import ListStatus, list_status
from certferry.cluster.resets import ResetOutcome
from certferry.cluster.sightings import Step
from certferry.cluster.values import Phone, Service
from certferry.fleet import http, tftp, tvs
from certferry.fleet.sip import SipConnection, client_context
from certferry.lab.keys import PooledKeys
from certferry.lab.lsc import LscFiles
from certferry.trust.purpose import Purpose
from certferry.wire.phone_alarm import DeviceTLInfo
from certferry.wire.sip import SipMessage
from certferry.wire.sip_requests import Notify
from certferry.wire.tvs import CertificateQueryRequest
from command_line import COMMAND, certferry_process, loopback_cluster

PHONE, SECURE, STRANGER = "SEP001B54AABBC1", "SEP001B54AABBC2", "SEP00000000000F"
PATIENCE = 60


# --- a cluster that is served by a process, and phones that register with it


@pytest.fixture
def folder(tmp_path: Path, key_pool: PooledKeys) -> Path:
    cluster = loopback_cluster(tmp_path / "own", key_pool, secure=True)
    cluster.add_phones([Phone(PHONE), Phone(SECURE, secure=True)])
    cluster.close()
    return tmp_path / "own"


@pytest.fixture
def cluster(folder: Path) -> Cluster:
    return Cluster.open(folder)


@contextmanager
def serving(folder: Path, *words: str, command: list[str] | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Serve ``folder`` by a process that is ready."""
    line = [*(command or COMMAND), "serve", "--cluster", str(folder), "--json", *words]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["ready"]
            yield process
        finally:
            process.terminate()


def at(cluster: Cluster, service: Service) -> tuple[str, int]:
    node = cluster.publisher
    return node.address, node.ports[service]


async def until(holds: Callable[[], Any]) -> Any:
    """Wait for what another process writes into the database and tells nobody."""
    async with asyncio.timeout(PATIENCE):
        while not (found := await asyncio.to_thread(holds)):  # noqa: ASYNC110 -- as it says
            await asyncio.sleep(0.05)
    return found


class RegisteredPhone:
    """A phone on its connection; it keeps the resets it was told."""

    def __init__(self, device: str, answer: int = 200) -> None:
        self.device = device
        self.told: list[str] = []
        self.connection: SipConnection
        self._answer = answer

    async def register(self, address: tuple[str, int], **settings: Any) -> None:
        self.connection = await SipConnection.opened(
            address, self.device, context=None, on_request=self._asked, timeout=PATIENCE, **settings
        )
        await self.connection.register(timeout=PATIENCE)

    def _asked(self, message: SipMessage) -> int:
        self.told.append(Notify.of_message(message).request_id)
        return self._answer


@asynccontextmanager
async def registered(cluster: Cluster, device: str = PHONE, answer: int = 200) -> AsyncIterator[RegisteredPhone]:
    phone = RegisteredPhone(device, answer)
    await phone.register(at(cluster, Service.SIP))
    try:
        yield phone
    finally:
        phone.connection.close()


def outcome(cluster: Cluster, request_id: str) -> ResetOutcome | None:
    return cluster.resets.find([request_id])[request_id].outcome


# --- what phones do


async def test_the_cluster_learns_what_a_phone_does_from_its_first_file_to_its_lists(
    folder: Path, cluster: Cluster
) -> None:
    ctl, itl = cluster.trust_list("CTL") or b"", cluster.trust_list("ITL", "source-pub") or b""
    signer = cluster.identity(Purpose.CALLMANAGER).certificate
    question = CertificateQueryRequest(7, f"CP-8861-{PHONE}", signer.subject, signer.issuer, signer.serial)
    with serving(folder) as process:
        assert await http.fetch(at(cluster, Service.HTTP), f"CTL{PHONE}.tlv", timeout=PATIENCE) == ctl
        assert await tftp.fetch(at(cluster, Service.TFTP), f"ITL{PHONE}.tlv", timeout=20) == itl
        await http.fetch(at(cluster, Service.HTTP), f"{PHONE}.cnf.xml.sgn", timeout=PATIENCE)
        await tvs.ask(at(cluster, Service.TVS), question, trusted=None, timeout=PATIENCE)
        async with registered(cluster) as phone:
            lists = DeviceTLInfo(PHONE, "127.0.0.1", ctl=_sha1(ctl), itl=_sha1(itl))
            assert await phone.connection.send_alarm(lists.encode()) == 202
            steps = {Step.CTL, Step.ITL, Step.CONFIGURATION, Step.TVS, Step.REGISTERED}
            await until(lambda: steps <= set(cluster.sightings.of([PHONE]).get(PHONE, {})))
            await until(cluster.sightings.held)
            assert set(cluster.sightings.registered()) == {PHONE}
            seen = cluster.sightings.of([PHONE])[PHONE]
            assert seen[Step.TVS].detail == f"valid {signer.subject}"
            assert seen[Step.CTL].detail == f"CTL{PHONE}.tlv over HTTP"
            assert seen[Step.ITL].detail == f"ITL{PHONE}.tlv over TFTP"
            assert {sighting.node for sighting in seen.values()} == {"source-pub"}
            assert list_status(cluster, [PHONE])[PHONE].overall is ListStatus.MATCH
            process.terminate()
            process.wait(PATIENCE)
    assert cluster.sightings.registered() == {}
    counted = cluster.counters.totals()
    assert counted["source-pub", "tvs", "trusted"] == 1
    assert counted["source-pub", "http", "processed"] == 2
    assert counted["source-pub", "tftp", "processed"] == 1
    assert counted["source-pub", "sip", "registered"] == 1
    assert counted["source-pub", "sip", "alarms"] == 1


def _sha1(data: bytes) -> str:
    return sha1(data, usedforsecurity=False).hexdigest().upper()


async def test_who_was_refused_and_who_was_removed_is_seen(folder: Path, cluster: Cluster) -> None:
    with serving(folder):
        for device in (SECURE, STRANGER):
            with pytest.raises(Exception, match=r"40[34]"):
                async with registered(cluster, device):
                    pass
        async with registered(cluster):
            await until(cluster.sightings.registered)
            cluster.remove_phones([PHONE])
            await until(lambda: Step.UNREGISTERED in cluster.sightings.of([PHONE]).get(PHONE, {}))
            assert cluster.sightings.registered() == {}
        await until(lambda: len(cluster.sightings.of([SECURE, STRANGER])) == 2)
        seen = cluster.sightings.of([SECURE, STRANGER])
        assert seen[SECURE][Step.REFUSED].detail == "403 Forbidden"
        assert seen[STRANGER][Step.REFUSED].detail == "404 Not Found"


# --- resets


async def test_a_reset_asked_by_another_process_twice_reaches_the_phone_once(folder: Path, cluster: Cluster) -> None:
    with serving(folder):
        async with registered(cluster) as phone:
            cluster.resets.ask({"r1": PHONE}, "wave 1")
            cluster.resets.ask({"r1": PHONE}, "wave 1")
            await until(lambda: outcome(cluster, "r1") is ResetOutcome.DONE)
            cluster.resets.ask({"r1": PHONE, "r2": PHONE}, "wave 1, after a crash")
            await until(lambda: outcome(cluster, "r2") is ResetOutcome.DONE)
            assert phone.told == ["r1", "r2"]
            request = cluster.resets.find(["r1"])["r1"]
            assert (request.node, request.asked_by) == ("source-pub", "wave 1")
            await until(lambda: Step.RESET in cluster.sightings.of([PHONE]).get(PHONE, {}))


@pytest.mark.slow
async def test_phones_are_reset_by_hand_from_the_command_line(folder: Path, cluster: Cluster) -> None:
    with serving(folder):
        async with registered(cluster) as phone:
            words = ["phone", "reset", PHONE, SECURE, "--wait", "10", "--json", "--cluster", folder]
            ended = await asyncio.to_thread(certferry_process, *words)
            assert len(phone.told) == 1
    assert (ended.code, ended.json["reset"]) == (5, 1)
    assert [each["outcome"] for each in ended.json["phones"]] == ["done", "absent"]


ASK_AND_DIE = """
import os, signal, sys
from certferry.cluster.cluster import Cluster
Cluster.open(sys.argv[1]).resets.ask({"r1": sys.argv[2]}, "one that dies")
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_who_asked_may_die_and_the_phone_is_told_all_the_same(folder: Path, cluster: Cluster) -> None:
    with serving(folder):
        async with registered(cluster) as phone:
            asking = await asyncio.create_subprocess_exec(sys.executable, "-c", ASK_AND_DIE, str(folder), PHONE)
            assert await asking.wait() == -signal.SIGKILL
            await until(lambda: outcome(cluster, "r1") is ResetOutcome.DONE)
            assert phone.told == ["r1"]


async def test_a_phone_that_is_nowhere_stays_open_until_its_request_is_withdrawn(
    folder: Path, cluster: Cluster
) -> None:
    cluster.resets.ask({"away": PHONE, "stranger": STRANGER}, "wave 1")
    with serving(folder):
        await asyncio.sleep(0.7)  # two looks
        assert cluster.resets.withdraw(["stranger"]) == {"stranger"}
        assert outcome(cluster, "away") is None
        async with registered(cluster) as phone:
            await until(lambda: outcome(cluster, "away") is ResetOutcome.DONE)
            assert phone.told == ["away"]


@pytest.mark.parametrize("answer", [400, 503])
async def test_a_phone_that_refuses_is_unanswered_and_not_told_again(
    folder: Path, cluster: Cluster, answer: int
) -> None:
    with serving(folder):
        async with registered(cluster, answer=answer) as phone:
            cluster.resets.ask({"r1": PHONE}, "wave 1")
            await until(lambda: outcome(cluster, "r1") is ResetOutcome.UNANSWERED)
            assert phone.told == ["r1"]


async def test_hostile_answers_to_a_reset_harm_no_other_phone(folder: Path, cluster: Cluster) -> None:
    with serving(folder) as process:
        async with registered(cluster) as innocent:
            for number, garbage in enumerate(
                (b"\x16\x03\x01\r\n\r\n", b"SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\nContent-Length: 99999999\r\n\r\n")
            ):
                cluster.add_phones([Phone(f"SEP00000000001{number}")])
                await until(lambda: min(cluster.served().values()) >= cluster.version())
                async with registered(cluster, f"SEP00000000001{number}") as hostile:
                    hostile.connection.on_request = _sending(hostile, garbage)
                    cluster.resets.ask({f"h{number}": hostile.device}, "wave 1")
                    await until(lambda: cluster.resets.open_count() == 0)
            cluster.resets.ask({"r1": PHONE}, "wave 1")
            await until(lambda: outcome(cluster, "r1") is ResetOutcome.DONE)
            assert innocent.told == ["r1"]
            await until(lambda: all(outcome(cluster, f"h{n}") is ResetOutcome.UNANSWERED for n in range(3)))
        assert process.poll() is None


def _sending(phone: RegisteredPhone, garbage: bytes) -> Callable[[SipMessage], int]:
    def answer(_: SipMessage) -> int:
        line = phone.connection._line
        assert line is not None
        line.send(garbage)
        return 100

    return answer


DIE_BEFORE_SENDING = """
import os, signal, sys
from certferry.serve.registrar import Registrar
async def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
Registrar.reset = die
from certferry.cli.main import run
run(sys.argv[1:])
"""


async def test_a_node_that_is_killed_between_taking_and_telling_leaves_it_taken_and_nobody_tells_it(
    folder: Path, cluster: Cluster
) -> None:
    with serving(folder, command=[sys.executable, "-c", DIE_BEFORE_SENDING]) as process:
        async with registered(cluster):
            cluster.resets.ask({"r1": PHONE}, "wave 1")
            assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGKILL
    with serving(folder):
        async with registered(cluster) as phone:
            assert cluster.resets.withdraw(["r1"]) == frozenset()
            cluster.resets.ask({"r1": PHONE, "r2": PHONE}, "the same, after a crash")
            await until(lambda: outcome(cluster, "r2") is ResetOutcome.DONE)
            assert phone.told == ["r2"]
    request = cluster.resets.find(["r1"])["r1"]
    assert (request.node, request.outcome) == ("source-pub", None)


async def test_a_secure_phone_is_told_over_its_tls_connection(folder: Path, cluster: Cluster, tmp_path: Path) -> None:
    ((certificate, key),) = LscFiles(tmp_path / "lsc").issue(cluster, [SECURE])
    context = client_context(certificate, key, [cluster.identity(Purpose.CALLMANAGER).certificate])
    phone = RegisteredPhone(SECURE)
    with serving(folder):
        phone.connection = await SipConnection.opened(
            at(cluster, Service.SIPS), SECURE, context=context, on_request=phone._asked, timeout=PATIENCE
        )
        await phone.connection.register(timeout=PATIENCE)
        cluster.resets.ask({"r1": SECURE}, "wave 1")
        await until(lambda: outcome(cluster, "r1") is ResetOutcome.DONE)
        await until(cluster.sightings.registered)
        assert cluster.sightings.registered()[SECURE].detail == "120 s over TLS"
        phone.connection.close()
    assert phone.told == ["r1"]


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    return [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.mark.slow
async def test_workers_share_phones_resets_and_counters(folder: Path, cluster: Cluster) -> None:
    phones = [f"SEP0000000001{number:02X}" for number in range(30)]
    cluster.add_phones([Phone(device) for device in phones])
    with serving(folder, "--workers", "2") as process:
        here: list[RegisteredPhone] = []
        for device in phones:
            here.append(RegisteredPhone(device))
            await here[-1].register(at(cluster, Service.SIP))
        await until(lambda: len(cluster.sightings.registered()) == len(phones))
        ids = {f"reset of {device}": device for device in phones}
        cluster.resets.ask(ids, "wave 1")
        await until(lambda: all(each.outcome for each in cluster.resets.find(ids).values()))
        assert {each.outcome for each in cluster.resets.find(ids).values()} == {ResetOutcome.DONE}
        assert [phone.told for phone in here] == [[name] for name in ids]
        assert len(workers_of(process)) == 2
        for phone in here:
            await phone.connection.register(expires=0, timeout=PATIENCE)
            phone.connection.close()
        await until(lambda: not cluster.sightings.registered())
        process.terminate()
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    totals = cluster.counters.totals()
    assert totals["source-pub", "sip", "registered"] == len(phones)
    assert totals["source-pub", "sip", "unregistered"] == len(phones)
    assert totals["source-pub", "sip", "resets_answered"] == len(phones)


@pytest.mark.slow
async def test_totals_outlive_a_worker_that_is_killed(folder: Path, cluster: Cluster) -> None:
    with serving(folder, "--workers", "2") as process:
        for _ in range(10):
            async with registered(cluster):
                pass
        registered_at = ("source-pub", "sip", "registered")
        await until(lambda: cluster.counters.totals().get(registered_at) == 10)
        killed = set(workers_of(process))
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        await until(lambda: killed.isdisjoint(workers_of(process)))
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    async with registered(cluster):
                        break
                except Exception:  # noqa: BLE001 -- nobody is there until the workers are back
                    await asyncio.sleep(0.1)
        await until(lambda: cluster.counters.totals()[registered_at] == 11)
