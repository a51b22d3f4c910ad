"""Rehearsal and verification against servers that are not ours: dnsmasq, nginx, and a TVS written with plain ssl."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Node, NodeRole
from certferry.lab.loopback import free_network
from certferry.migrate.gather import Looking, Reach
from certferry.migrate.place import Place
from certferry.migrate.rehearse import choose_phones, rehearse
from certferry.migrate.result import Verification
from certferry.migrate.verify import verify
from certferry.trust.purpose import Purpose
from conftest import MakeCluster
from foreign_cluster import ForeignCluster, foreign

DEVICE = "SEP001122334455"
SIGNERS = (Purpose.CALLMANAGER, Purpose.ITL_RECOVERY)
Both = tuple[ForeignCluster, ForeignCluster]
REACH = Reach(tftp=0.5, tftp_tries=10, http=30.0, tvs=30.0)
"""Who does answer may take its time; ports where nobody listens refuse at once, but for TFTP."""


@pytest.fixture
def both(make_cluster: MakeCluster, tmp_path: Path) -> Iterator[Both]:
    """Source and destination, whose files lie ready; nothing serves them yet."""
    network = free_network()
    everything = frozenset({NodeRole.PUBLISHER, NodeRole.TFTP, NodeRole.TVS, NodeRole.CALLMANAGER, NodeRole.CAPF})
    with ExitStack() as stack:
        made = []
        for number, name in ((1, "source"), (2, "destination")):
            node = Node(f"{name}-pub", str(network[number]), everything)
            cluster = make_cluster(name, "11.5.1", [node])
            lent = stack.enter_context(foreign(cluster, node.address, tmp_path / f"served-{name}"))
            lent.write(DEVICE)
            made.append(lent)
        yield made[0], made[1]


def signers(cluster: Cluster) -> list[Any]:
    return [identity.certificate for identity in cluster.identities() if identity.purpose in SIGNERS]


async def rehearsed(both: Both, *devices: str, scheme: str = "") -> Verification:
    here, there = (Place.parse([f"{scheme}{side.address}"]) for side in both)
    return await rehearse(here, there, choose_phones(here, devices, None), Looking.with_reach(REACH), datetime.now(UTC))


async def test_a_phone_would_migrate_between_dnsmasq_and_dnsmasq(both: Both) -> None:
    source, destination = both
    for side in both:
        side.serve_tftp()
    source.serve_tvs(signers(destination.cluster))
    destination.serve_call_control()
    result = await rehearsed(both, DEVICE)
    (phone,) = result.phones
    assert (phone.outcome, phone.code) == ("would-migrate", "phone.registered"), phone.reason
    assert len(source.asked) == 1
    assert destination.asked == [], "something was sent to call control"


async def test_a_tvs_that_does_not_know_the_signer_makes_it_fail(both: Both) -> None:
    source, destination = both
    for side in both:
        side.serve_tftp()
    source.serve_tvs(())
    destination.serve_call_control()
    (phone,) = (await rehearsed(both, DEVICE)).phones
    assert (phone.outcome, phone.step, phone.code) == ("would-fail", "tvs", "tvs.invalid")


async def test_a_tvs_that_gives_no_role_makes_it_fail(both: Both) -> None:
    source, destination = both
    for side in both:
        side.serve_tftp()
    source.serve_tvs(signers(destination.cluster), roles=b"\7")
    (phone,) = (await rehearsed(both, DEVICE)).phones
    assert (phone.outcome, phone.code) == ("would-fail", "tvs.role")


async def test_nginx_alone_is_enough_where_tftp_does_not_answer(both: Both) -> None:
    source, destination = both
    for side in both:
        side.serve_http()
    source.serve_tvs(signers(destination.cluster))
    destination.serve_call_control()
    by_http = await rehearsed(both, DEVICE, scheme="http://")
    assert [phone.outcome for phone in by_http.phones] == ["would-migrate"]
    by_both = await rehearsed(both, DEVICE)
    assert [phone.outcome for phone in by_both.phones] == ["would-migrate"]
    assert {check.verdict for check in by_both.checks if check.id == "tftp.reachable"} == {"warn"}


async def test_a_made_up_phone_is_judged_by_the_files_for_everybody(both: Both) -> None:
    source, destination = both
    for side in both:
        side.serve_tftp()
    source.serve_tvs(signers(destination.cluster))
    (phone,) = (await rehearsed(both)).phones
    assert (phone.outcome, phone.step, phone.code) == ("unknown", "configuration", "rehearsal.made-up")


async def test_a_configuration_that_only_the_phone_can_open_leaves_it_unknown(both: Both) -> None:
    source, destination = both
    for side in both:
        side.serve_http()
    source.serve_tvs(signers(destination.cluster))
    destination.encrypt(DEVICE)
    (phone,) = (await rehearsed(both, DEVICE, scheme="http://")).phones
    assert (phone.outcome, phone.step, phone.code) == ("unknown", "configuration", "rehearsal.encrypted")


async def test_of_a_short_configuration_at_the_source_the_tvs_is_assumed_from_the_itl(both: Both) -> None:
    source, destination = both
    for side in both:
        side.serve_http()
    source.serve_tvs(signers(destination.cluster))
    destination.serve_call_control()
    source.encrypt(DEVICE)
    (phone,) = (await rehearsed(both, DEVICE, scheme="http://")).phones
    assert (phone.outcome, phone.code) == ("unknown", "rehearsal.configuration-assumed"), phone.reason


async def verified(both: Both) -> Verification:
    here, there = (Place.parse([side.address]) for side in both)
    phones = choose_phones(here, [DEVICE], None)
    return await verify(here, there, phones, Looking.with_reach(REACH), now=datetime.now(UTC))


async def test_verify_finds_nothing_that_fails_in_a_healthy_foreign_pair(both: Both) -> None:
    source, destination = both
    for side in both:
        side.serve_tftp()
        side.serve_http()
    source.serve_tvs(signers(destination.cluster))
    destination.serve_call_control()
    result = await verified(both)
    assert [(check.id, check.evidence) for check in result.checks if check.verdict == "fail"] == []
    assert [check.verdict for check in result.checks if check.id == "tvs.vouches"] == ["pass", "pass"]
    assert [check.verdict for check in result.checks if check.id == "file.same"] == ["pass", "pass"]
    assert result.ok


async def test_verify_sees_that_nginx_serves_another_file_than_dnsmasq(both: Both) -> None:
    source, destination = both
    source.serve_tftp()
    destination.serve_tftp()
    other = destination.folder.parent / "other"
    other.mkdir()
    (other / "ITLFile.tlv").write_bytes((source.folder / "ITLFile.tlv").read_bytes())
    destination.folder, served = other, destination.folder
    destination.serve_http()
    destination.folder = served
    result = await verified(both)
    differing = [check for check in result.checks if check.id == "file.same" and check.verdict == "fail"]
    assert ["ITLFile.tlv" in check.evidence for check in differing] == [True]


def test_the_command_line_ends_with_0_4_and_5(both: Both, tmp_path: Path) -> None:
    source, destination = both
    for side in both:
        side.serve_tftp()
    source.serve_tvs(signers(destination.cluster))
    destination.serve_call_control()

    def command(noun: str, *more: str) -> tuple[int, dict[str, Any]]:
        places = ["--source", source.address, "--destination", destination.address]
        ended = run(
            [sys.executable, "-m", "certferry", noun, *places, "--json", *more],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        return ended.returncode, json.loads(ended.stdout)

    code, told = command("rehearse", "--device", DEVICE)
    assert (code, told["ok"]) == (0, True)
    assert set(told["phones"][0]) >= {"device", "outcome", "step", "reason"}
    assert set(told["checks"][0]) >= {"id", "title", "verdict", "evidence", "remedy"}
    code, told = command("rehearse", "--device", DEVICE, "--device", "SEPAAAAAAAAAAAA")
    assert (code, told["ok"]) == (4, False)
    assert [phone["outcome"] for phone in told["phones"]] == ["would-migrate", "would-fail"]
    code, told = command("rehearse", "--phones", "4")
    assert (code, told["ok"], len(told["phones"])) == (5, True, 4)
    code, told = command("verify", "--device", DEVICE, "--option150", destination.address)
    assert (code, told["ok"]) == (0, True)
    page = tmp_path / "board.html"
    code, told = command("verify", "--device", DEVICE, "--option150", source.address, "--report", str(page))
    assert (code, told["ok"]) == (4, False)
    assert page.read_text().startswith("<!doctype html>")
    assert DEVICE in page.read_text()


def test_phones_of_a_csv_are_rehearsed_and_each_decision_is_told(both: Both, tmp_path: Path) -> None:
    source, destination = both
    for side in both:
        side.serve_tftp()
    source.serve_tvs(signers(destination.cluster))
    destination.serve_call_control()
    csv = tmp_path / "phones.csv"
    csv.write_text(f"device,model\n{DEVICE},7962\n")
    places = ["--source", source.address, "--destination", destination.address]
    ended = run(
        [sys.executable, "-m", "certferry", "rehearse", *places, "--devices", str(csv), "--explain"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert f"{DEVICE}: would-migrate" in ended.stdout
    assert "TVS vouched for its signer" in ended.stdout
    assert "it holds ITL record: TVS CN=source-pub" in ended.stdout
    assert b"CP-7962-" + DEVICE.encode() in source.asked[0]


def test_what_is_no_address_is_wrong_usage() -> None:
    ended = run(
        [sys.executable, "-m", "certferry", "verify", "--source", "a:b", "--destination", "c"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "migrate.endpoint-invalid" in ended.stderr
