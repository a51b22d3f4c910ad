"""What servers see phones do is read off the hot path and told to the cluster, without loss and without bound."""

import logging
from collections.abc import Callable, Mapping

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.counters import Counters
from certferry.cluster.database import DatabaseError
from certferry.cluster.sightings import RAN_OUT, Sighting, Sightings, Step
from certferry.serve import watching
from certferry.serve.registrar import Leaving, Registration
from certferry.serve.watching import MOST_STRANGERS, NodeWatch, Watcher
from certferry.wire.phone_alarm import DeviceTLInfo
from certferry.wire.tvs import (
    CertificateQueryReply,
    CertificateQueryRequest,
    CertificateVerificationReply,
    CertificateVerificationRequest,
    Status,
)
from conftest import MakeCertificate, MakeCluster

PHONE, OTHER, STRANGER = "SEP00112233445A", "SEP000000000002", "SEP00000000000F"
HOST = "192.0.2.9"
Counts = Mapping[tuple[str, str], Mapping[str, int]]


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


@pytest.fixture
def watcher(cluster: Cluster) -> Watcher:
    made = Watcher(cluster)
    made.phones = {PHONE, OTHER}
    return made


@pytest.fixture
def node(watcher: Watcher) -> NodeWatch:
    return watcher.at("pub")


def seen(cluster: Cluster, device: str = PHONE) -> dict[Step, Sighting]:
    return cluster.sightings.of([device]).get(device, {})


def details(cluster: Cluster, device: str = PHONE) -> dict[Step, str]:
    return {step: sighting.detail for step, sighting in seen(cluster, device).items()}


# --- what is seen


@pytest.mark.parametrize(
    ("name", "step"),
    [
        (f"CTL{PHONE}.tlv", Step.CTL),
        (f"ITL{PHONE}.tlv", Step.ITL),
        (f"itl{PHONE.lower()}.TLV", Step.ITL),
        (f"/{PHONE}.cnf.xml", Step.CONFIGURATION),
        (f"{PHONE}.cnf.xml.sgn", Step.CONFIGURATION),
        (f"{PHONE}.cnf.xml.enc.sgn", Step.CONFIGURATION),
    ],
)
async def test_a_file_of_a_phone_tells_how_far_it_came(
    cluster: Cluster, watcher: Watcher, node: NodeWatch, name: str, step: Step
) -> None:
    node.served_by_tftp(name, HOST)
    await watcher.flush()
    assert set(seen(cluster)) == {step}
    sighting = seen(cluster)[step]
    assert (sighting.node, sighting.address, sighting.detail) == ("pub", HOST, f"{name.lstrip('/')} over TFTP")


async def test_files_of_no_phone_tell_nothing(cluster: Cluster, watcher: Watcher, node: NodeWatch) -> None:
    for name in ("ITLFile.tlv", "XMLDefault.cnf.xml", "SEP1.cnf.xml", f"x{PHONE}.cnf.xml", f"CTL{STRANGER}.tlv", "\0"):
        node.served_by_http(name, HOST)
    await watcher.flush()
    assert cluster.sightings.of([PHONE, STRANGER]) == {}


async def test_a_question_to_tvs_tells_who_asked_about_whom_and_what_it_was_told(
    cluster: Cluster, watcher: Watcher, node: NodeWatch, make_certificate: MakeCertificate
) -> None:
    signer = make_certificate("CN=dst-pub;O=Example")
    query = CertificateQueryRequest(7, f"CP-8861-{PHONE}", signer.subject, signer.issuer, signer.serial)
    node.answered(query.encode(), CertificateQueryReply(7, Status.VALID, signer.der, (0, 3), 60).encode(), HOST)
    verify = CertificateVerificationRequest(8, f"CP-7821-{OTHER}", signer.der)
    node.answered(verify.encode(), CertificateVerificationReply(8, Status.INVALID).encode(), HOST)
    await watcher.flush()
    assert details(cluster) == {Step.TVS: "valid CN=dst-pub;O=Example"}
    assert details(cluster, OTHER) == {Step.TVS: "invalid CN=dst-pub;O=Example"}


async def test_what_a_peer_wrote_into_a_question_cannot_do_harm(
    cluster: Cluster, watcher: Watcher, node: NodeWatch
) -> None:
    no = CertificateQueryReply(7, Status.INVALID).encode()
    for device in (STRANGER, "", "-", "CP-8861-", PHONE + "\n", "\udcff"):
        node.answered(CertificateQueryRequest(7, device, "CN=x", "CN=x", b"1").encode(), no, HOST)
    node.answered(CertificateVerificationRequest(7, PHONE, b"no certificate").encode(), no, HOST)
    for garbage in (b"", b"\x57\x01\x03", no):
        node.answered(garbage, no, HOST)
    await watcher.flush()
    assert cluster.sightings.of([PHONE, STRANGER, ""]) == {}
    ugly = CertificateQueryRequest(7, PHONE.lower(), "CN=\x1b[2J\udcff" + "x" * 5000, "CN=x", b"1").encode()
    node.answered(ugly, no, HOST)
    await watcher.flush()
    told = details(cluster)[Step.TVS]
    assert told.startswith("invalid CN=?[2J?xxx")
    assert told.isprintable()


async def test_a_registration_tells_how_long_it_lasts_and_how_it_ended(
    cluster: Cluster, watcher: Watcher, node: NodeWatch
) -> None:
    registration = Registration(PHONE, HOST, secure=True, expires=120)
    node.registered(registration)
    node.refused(PHONE, HOST, 403)
    await watcher.flush()
    assert details(cluster) == {Step.REGISTERED: "120 s over TLS", Step.REFUSED: "403 Forbidden"}
    assert set(cluster.sightings.registered()) == {PHONE}
    node.unregistered(registration, Leaving.RAN_OUT)
    await watcher.flush()
    assert seen(cluster)[Step.UNREGISTERED].detail == RAN_OUT
    assert set(cluster.sightings.registered()) == {PHONE}  # by what it said of itself; it may be elsewhere by now
    watcher.phones = {OTHER}
    node.unregistered(registration, Leaving.REMOVED)
    await watcher.flush()
    assert cluster.sightings.registered() == {}


async def test_an_alarm_tells_which_lists_a_phone_holds(cluster: Cluster, watcher: Watcher, node: NodeWatch) -> None:
    node.alarm(DeviceTLInfo(PHONE, HOST, itl="AB" * 20, status_code=3), HOST)
    await watcher.flush()
    held = cluster.sightings.held()[PHONE]
    assert (held.ctl, held.itl, held.status_code) == ("", "AB" * 20, 3)


async def test_nodes_of_one_process_tell_under_their_own_names(cluster: Cluster, watcher: Watcher) -> None:
    watcher.at("pub").served_by_http(f"ITL{PHONE}.tlv", HOST)
    watcher.at("sub").reset(PHONE, answered=True)
    await watcher.flush()
    assert {step: sighting.node for step, sighting in seen(cluster).items()} == {Step.ITL: "pub", Step.RESET: "sub"}


# --- nothing without bound


async def test_strangers_are_told_up_to_a_number_and_only_when_refused(
    cluster: Cluster, watcher: Watcher, node: NodeWatch
) -> None:
    strangers = [f"SEP{number:012X}" for number in range(16, 2 * MOST_STRANGERS)]
    node.served_by_http(f"ITL{strangers[0]}.tlv", HOST)
    for device in [*strangers, "NOPHONE"]:
        node.refused(device, HOST, 404)
    await watcher.flush()
    told = cluster.sightings.of([*strangers, "NOPHONE"])
    assert sorted(told) == strangers[:MOST_STRANGERS]
    assert details(cluster, strangers[0]) == {Step.REFUSED: "404 Not Found"}


async def test_a_storm_keeps_the_latest_and_says_that_some_was_lost(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "MOST_EVENTS", 3)
    watcher = Watcher(cluster)
    devices = [f"SEP{number:012X}" for number in range(5)]
    watcher.phones = set(devices)
    for device in devices:
        watcher.at("pub").reset(device, answered=True)
    await watcher.flush()
    assert sorted(cluster.sightings.of(devices)) == devices[-3:]
    assert "the oldest is not told" in caplog.text


# --- a database that is away


@pytest.fixture
def is_away(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Take the database away and bring it back."""
    note, report = Sightings.note, Counters.report_all

    def refuse(*_: object) -> None:
        raise DatabaseError("the file is locked")

    def be(*, now: bool) -> None:
        monkeypatch.setattr(Sightings, "note", refuse if now else note)
        monkeypatch.setattr(Counters, "report_all", refuse if now else report)

    return be


async def test_what_cannot_be_told_is_told_later_and_said_once(
    cluster: Cluster, watcher: Watcher, node: NodeWatch, is_away: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    is_away(now=True)
    for number in range(3):
        node.served_by_http(f"{'CTL' if number else 'ITL'}{PHONE}.tlv", f"192.0.2.{number}")
        node.alarm(DeviceTLInfo(PHONE, HOST, status_code=number), HOST)
        await watcher.flush()
    assert len(caplog.records) == 1
    assert "cannot tell the cluster what phones do: the file is locked" in caplog.text
    is_away(now=False)
    await watcher.flush()
    assert {step: sighting.address for step, sighting in seen(cluster).items()} == {
        Step.ITL: "192.0.2.0",
        Step.CTL: "192.0.2.2",
    }
    assert cluster.sightings.held()[PHONE].status_code == 2


async def test_while_the_database_is_away_the_oldest_gives_way_at_last(
    cluster: Cluster,
    watcher: Watcher,
    node: NodeWatch,
    is_away: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "MOST_PENDING", 2)
    is_away(now=True)
    for step in (Step.CTL, Step.ITL, Step.CTL, Step.CONFIGURATION):
        node.saw(PHONE, step, HOST, "")
        await watcher.flush()
    is_away(now=False)
    await watcher.flush()
    assert set(seen(cluster)) == {Step.CTL, Step.CONFIGURATION}


async def test_without_news_the_database_is_left_alone(
    watcher: Watcher, is_away: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    is_away(now=True)
    await watcher.flush()
    await watcher.close()
    assert caplog.record_tuples == []


# --- counters


async def test_counters_are_reported_when_due_and_at_the_end(cluster: Cluster) -> None:
    counts: dict[tuple[str, str], dict[str, int]] = {("pub", "tvs"): {"trusted": 0, "unknown": 2}}
    watcher = Watcher(cluster, lambda: counts)
    await watcher.flush()
    assert cluster.counters.totals() == {("pub", "tvs", "unknown"): 2}
    counts["pub", "tvs"]["trusted"] = 5
    await watcher.flush()  # too early
    assert cluster.counters.totals() == {("pub", "tvs", "unknown"): 2}
    await watcher.close()
    assert cluster.counters.totals() == {("pub", "tvs", "unknown"): 2, ("pub", "tvs", "trusted"): 5}


async def test_totals_do_not_go_down_when_a_server_begins_anew(cluster: Cluster) -> None:
    values = iter([{"registered": 7}, {"registered": 9}, {"registered": 1}, {"registered": 2}])
    watcher = Watcher(cluster, lambda: {("pub", "sips"): next(values)})
    totals = []
    for _ in range(4):
        await watcher.close()  # which reports whatever the time
        totals.append(cluster.counters.totals()["pub", "sips", "registered"])
    assert totals == [7, 9, 10, 11]


async def test_counters_that_could_not_be_reported_are_reported_later(
    cluster: Cluster, is_away: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    watcher = Watcher(cluster, lambda: {("pub", "tvs"): {"trusted": 3}})
    is_away(now=True)
    await watcher.close()
    is_away(now=False)
    await watcher.close()
    assert cluster.counters.totals() == {("pub", "tvs", "trusted"): 3}
    assert caplog.records[0].levelno == logging.WARNING


async def test_each_process_counts_for_itself(cluster: Cluster) -> None:
    for _ in range(2):
        await Watcher(cluster, lambda: {("pub", "tvs"): {"trusted": 3}}).close()
    assert cluster.counters.totals() == {("pub", "tvs", "trusted"): 6}
