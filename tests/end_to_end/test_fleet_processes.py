"""A fleet over several processes does what one in this process does; each process ends with its parent."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa

from certferry.fleet.crew import Handset, encode_outcome, parse_outcome
from certferry.fleet.fleet import Progress
from certferry.fleet.limits import resident_bytes
from certferry.fleet.processes import FleetProcesses, FleetWorkerError, processes_for
from certferry.phone.outcome import Code, Outcome, Step
from certferry.serve.limits import raise_file_limit
from conftest import MakeCertificate
from phone_clusters import PaperCluster
from phone_network import LiveCluster, live

NAMES = [f"SEP{number:012X}" for number in range(6)]
HANDSETS = [Handset(name, "8861") for name in NAMES]


@pytest_asyncio.fixture
async def clusters(
    make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> AsyncIterator[tuple[LiveCluster, LiveCluster]]:
    papers = PaperCluster.of("src", rsa_key, make_certificate), PaperCluster.of("dst", other_rsa_key, make_certificate)
    async with live(papers[0]) as source, live(papers[1]) as destination:
        for name in NAMES:
            source.add(name)
            destination.add(name)
        yield source, destination


async def test_phones_in_two_processes_boot_and_stay_where_they_are_when_nobody_vouches(
    clusters: tuple[LiveCluster, LiveCluster],
) -> None:
    source, destination = clusters
    told: list[Progress] = []
    async with FleetProcesses(HANDSETS, 2) as phones:
        assert phones.names == tuple(NAMES)
        assert await phones.lacking(ctl=False) == NAMES
        result = await phones.boot([source.tftp.address], progress=told.append)
        assert (result.phones, result.registered, result.codes) == (6, 6, {Code.REGISTERED: 6})
        assert {each.device for each in told} == set(NAMES)
        assert [each.done for each in told] == [1, 2, 3, 4, 5, 6]
        assert await phones.lacking(ctl=False) == []
        assert await phones.lacking(ctl=True) == NAMES
        attempt = await phones.attempt(4, [destination.tftp.address])
        assert (attempt.result.codes, attempt.kept) == ({Code.TVS_INVALID: 4}, 4)
        assert set(attempt.result.outcomes) == set(NAMES[:4])
        assert (await phones.boot()).registered == 2  # the four still know the servers of their attempt
        again = await phones.boot([source.tftp.address])
        assert (again.registered, again.tvs_requests) == (6, 0)
        assert (await phones.journal(NAMES[5]))[-1].startswith("registered with 127.0.0.1")
        assert phones.grown != 0


async def test_a_process_that_is_killed_is_told_and_the_others_end(clusters: tuple[LiveCluster, LiveCluster]) -> None:
    async with FleetProcesses(HANDSETS, 2) as phones:
        process = phones._crews[1]._process
        assert process is not None
        process.kill()
        await process.wait()
        with pytest.raises(FleetWorkerError):
            await phones.boot([clusters[0].tftp.address])


async def test_a_worker_ends_with_its_standard_input_even_while_phones_boot() -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "certferry.fleet.worker", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps({"phones": [HANDSETS[0].encode()], "at_once": 1}).encode() + b"\n")
    assert json.loads(await worker.stdout.readline()) == {"ready": True}
    worker.stdin.write(json.dumps({"order": "boot", "servers": [["127.0.0.1", 9]]}).encode() + b"\n")
    worker.stdin.close()
    assert await asyncio.wait_for(worker.wait(), 60) == 0
    assert await worker.stdout.read() == b""


async def test_a_worker_that_is_told_nothing_ends() -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "certferry.fleet.worker", stdin=asyncio.subprocess.PIPE
    )
    assert worker.stdin is not None
    worker.stdin.close()
    assert await asyncio.wait_for(worker.wait(), 60) == 0


async def test_an_interrupt_at_the_terminal_is_the_parents_to_deal_with() -> None:
    async with FleetProcesses(HANDSETS[:1], 1) as phones:
        process = phones._crews[0]._process
        assert process is not None
        assert os.getpgid(process.pid) != os.getpgid(0)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("phones", "cores", "processes"), [(1, 8, 1), (20, 8, 1), (499, 8, 1), (500, 8, 2), (10_000, 2, 2), (1600, 64, 4)]
)
def test_a_further_process_is_for_further_phones(phones: int, cores: int, processes: int) -> None:
    assert processes_for(phones, cores) == processes


def test_no_more_processes_than_cores_are_taken() -> None:
    assert processes_for(100_000) == len(os.sched_getaffinity(0))


def test_outcomes_survive_the_pipe() -> None:
    outcome = Outcome(ok=False, step=Step.TVS, code=Code.TVS_INVALID, reason="no")
    assert parse_outcome(json.loads(json.dumps(encode_outcome("SEP1", outcome)))) == ("SEP1", outcome)


def test_as_many_files_as_may_be_are_allowed_and_memory_is_known() -> None:
    assert raise_file_limit() == raise_file_limit()
    assert resident_bytes() > 1_000_000
    assert signal.getsignal(signal.SIGPIPE) is not None
