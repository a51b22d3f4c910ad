"""A healthy pair of clusters: nothing fails, nothing warns, and every phone that is known would migrate."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.parameters import SECURITY_MODE
from certferry.lab.keys import PooledKeys
from certferry.lab.lab import tftp_servers
from certferry.lab.pair import Pair
from certferry.migrate.gather import Looking, Reach
from certferry.migrate.place import Place
from certferry.migrate.rehearse import Rehearsed, choose_phones, rehearse
from certferry.migrate.result import DONE, FAILED, PARTLY, Verification
from certferry.migrate.verify import Wish, verify
from certferry.serve.registrar import Registrar

RELEASES = [("10.5.2", "11.5.1"), ("11.5.1", "14")]
WISH = Wish()
PATIENT = Reach(tftp=0.5, tftp_tries=8)
"""Beside a node that is dead: long enough for one that is alive on a machine with much to do."""
SECURE = pytest.mark.parametrize("secure", [True, False], ids=["secure", "non-secure"])


def from_outside(cluster: Cluster) -> Place:
    host, port = tftp_servers(cluster)[0]
    return Place.parse([f"{host}:{port}"])


async def verified(pair: Pair, *, inside: bool, devices: list[str], wish: Wish = WISH) -> Verification:
    place = Place.of_cluster if inside else from_outside
    here, there = place(pair.source), place(pair.destination)
    phones = choose_phones(here, devices, None)
    return await verify(here, there, phones, Looking(), now=datetime.now(UTC) + timedelta(seconds=1), wish=wish)


def said(result: Verification, verdict: str) -> set[str]:
    return {check.id for check in result.checks if check.verdict == verdict}


@SECURE
@pytest.mark.parametrize("releases", RELEASES, ids=["10.5-11.5", "11.5-14"])
async def test_nothing_fails_and_nothing_warns_seen_from_inside(
    releases: tuple[str, str], secure: bool, tmp_path: Path, key_pool: PooledKeys
) -> None:
    async with Pair.opened(tmp_path, key_pool, secure=secure, releases=releases) as pair:
        await pair.exchange()
        option150 = tuple(host for host, _ in tftp_servers(pair.destination))
        result = await verified(pair, inside=True, devices=[], wish=Wish(option150=option150))
    assert said(result, "fail") == said(result, "warn") == said(result, "unknown") == set()
    assert [phone.outcome for phone in result.phones] == ["would-migrate"]
    assert result.ok
    assert result.exit_code == DONE


@SECURE
@pytest.mark.parametrize("releases", RELEASES, ids=["10.5-11.5", "11.5-14"])
async def test_what_is_not_seen_from_outside_is_unknown_and_not_passed(
    releases: tuple[str, str], secure: bool, tmp_path: Path, key_pool: PooledKeys
) -> None:
    async with Pair.opened(tmp_path, key_pool, secure=secure, releases=releases) as pair:
        await pair.exchange()
        result = await verified(pair, inside=False, devices=[pair.phone.device])
    assert said(result, "fail") == said(result, "warn") == set()
    assert said(result, "unknown") == {
        "emcc.tomcat",
        "import.direction",
        "option150",
        "rollback.parameter",
        "store.capf",
        "store.collision",
        "store.signers",
        "tvs.held",
    }
    assert all(check.remedy for check in result.checks if check.verdict == "unknown")
    assert [phone.outcome for phone in result.phones] == ["would-migrate"]


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
async def test_clusters_that_left_mixed_mode_are_as_healthy(tmp_path: Path, key_pool: PooledKeys, inside: bool) -> None:
    async with Pair.opened(tmp_path, key_pool, secure=True) as pair:
        await pair.exchange()
        for cluster in (pair.source, pair.destination):
            cluster.set_parameter(SECURITY_MODE, "non-secure")
        await pair.settled()
        result = await verified(pair, inside=inside, devices=[pair.phone.device])
        flash = await pair.settle_phone()
        moved = await pair.move(flash)
    assert said(result, "fail") == said(result, "warn") == set()
    assert "list.left-mixed-mode" in said(result, "pass")
    assert [phone.outcome for phone in result.phones] == ["would-migrate"]
    assert moved.outcome is not None
    assert moved.outcome.ok


async def test_the_other_nodes_are_found_in_the_lists_of_the_one_named(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool, nodes=3) as pair:
        await pair.exchange()
        result = await verified(pair, inside=False, devices=[pair.phone.device])
        addresses = {node.address for node in (*pair.source.nodes(), *pair.destination.nodes())}
    reached = {check.title.split()[1].partition(":")[0] for check in result.checks if check.id == "tftp.reachable"}
    assert reached == addresses


async def test_the_matrix_asks_every_tvs_about_every_signer(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool, nodes=3) as pair:
        await pair.exchange()
        result = await verified(pair, inside=False, devices=[pair.phone.device])
    cells = [check.title for check in result.checks if check.id == "tvs.vouches"]
    # Three TVS nodes; three CallManager certificates and the ITLRecovery certificate.
    assert len(cells) == len(set(cells)) == 3 * 4


@SECURE
async def test_the_phone_that_would_migrate_does(secure: bool, tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool, secure=secure) as pair:
        await pair.exchange()
        flash = await pair.settle_phone()
        result = await verified(pair, inside=False, devices=[pair.phone.device])
        moved = await pair.move(flash)
    assert result.phones[0].outcome == "would-migrate"
    assert moved.outcome is not None
    assert moved.outcome.ok


async def test_a_rehearsal_registers_nothing_anywhere(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool) as pair:
        await pair.exchange()
        versions = pair.source.version(), pair.destination.version()
        here, there = from_outside(pair.source), from_outside(pair.destination)
        phones = choose_phones(here, [pair.phone.device], None)
        result = await rehearse(here, there, phones, Looking(), datetime.now(UTC))
        registrars = [each for running in pair.running.values() for each in running.services[0]._servers.values()]
        registered = [each.counters.registered for each in registrars if isinstance(each, Registrar)]
        assert (pair.source.version(), pair.destination.version()) == versions
    assert result.exit_code == DONE
    assert registered
    assert sum(registered) == 0


@SECURE
async def test_a_made_up_phone_is_told_what_can_be_told(secure: bool, tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool, secure=secure) as pair:
        here, there = from_outside(pair.source), from_outside(pair.destination)
        phones = choose_phones(here, [], 3)
        before = await rehearse(here, there, phones, Looking(), datetime.now(UTC))
        await pair.exchange()
        after = await rehearse(here, there, phones, Looking(), datetime.now(UTC))
    assert {(phone.outcome, phone.code) for phone in before.phones} == {("would-fail", "tvs.invalid")}
    assert before.exit_code == FAILED
    assert {(phone.outcome, phone.code) for phone in after.phones} == {("unknown", "rehearsal.made-up")}
    assert (after.ok, after.exit_code) == (True, PARTLY)
    assert len(after.phones) == 3


async def test_a_phone_that_only_the_destination_knows_is_unknown(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool) as pair:
        await pair.exchange()
        pair.source.remove_phones([pair.phone.device])
        await pair.settled()
        here, there = from_outside(pair.source), from_outside(pair.destination)
        phones = choose_phones(here, [pair.phone.device], None)
        result = await rehearse(here, there, phones, Looking(), datetime.now(UTC))
    assert [(phone.outcome, phone.code) for phone in result.phones] == [("unknown", "rehearsal.configuration-assumed")]


async def test_a_source_that_does_not_answer_makes_its_phones_unknown(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool, nodes=1) as pair:
        here, there = from_outside(pair.source), from_outside(pair.destination)
        await pair.stop("source-pub")
        phones = choose_phones(here, [pair.phone.device], None)
        result = await rehearse(here, there, phones, Looking.with_reach(PATIENT), datetime.now(UTC))
    assert [(phone.outcome, phone.code) for phone in result.phones] == [("unknown", "rehearsal.source-not-seen")]
    assert "tftp.reachable" in said(result, "fail")
    assert "source.itl" in said(result, "unknown")


async def test_the_journal_tells_what_the_phone_holds_and_would_hold(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool) as pair:
        await pair.exchange()
        here, there = from_outside(pair.source), from_outside(pair.destination)
        phones = choose_phones(here, [pair.phone.device], None)
        result = await rehearse(here, there, phones, Looking(), datetime.now(UTC))
        itl = pair.source.trust_list("ITL", "source-pub") or b""
    told = [entry.text for entry in result.phones[0].journal]
    assert any(
        text.startswith(f"before: it holds ITL: {len(itl)} bytes, SHA1, signed by CN=source-pub") for text in told
    )
    assert any("TVS vouched for its signer" in text for text in told)
    assert any(text.startswith("after: it would hold ITL record: TVS CN=destination-pub") for text in told)


async def test_many_phones_are_rehearsed_each_with_its_own_files(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool) as pair:
        await pair.exchange()
        pair.lab.add_phones([pair.source, pair.destination], 30)
        (late,) = pair.lab.add_phones([pair.source], 1)
        await pair.settled()
        here, there = from_outside(pair.source), from_outside(pair.destination)
        phones = choose_phones(here, [phone.device for phone in pair.source.phones()], None)
        result = await rehearse(here, there, phones, Looking(), datetime.now(UTC))
    failed = {phone.device: phone.code for phone in result.phones if phone.outcome != "would-migrate"}
    assert failed == {late.device: "registration.unknown-device"}
    assert len(result.phones) == 32
    assert [check.evidence for check in result.checks if check.id == "source.configuration"] == ["32 of 32"]


async def test_a_dead_tftp_node_beside_a_live_one_only_warns(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool) as pair:
        await pair.exchange()
        await pair.stop("destination-sub1")
        here, there = from_outside(pair.source), Place.of_cluster(pair.destination)
        phones = choose_phones(here, [pair.phone.device], None)
        looking = Looking.with_reach(PATIENT)
        result = await verify(here, there, phones, looking, now=datetime.now(UTC))
    found = [check for check in result.checks if check.id == "tftp.reachable" and check.verdict != "pass"]
    assert [(check.verdict, "phones ask the next" in check.evidence) for check in found] == [("warn", True)]


async def test_a_6901_which_asks_for_no_itl_is_rehearsed_without_one(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with Pair.opened(tmp_path, key_pool) as pair:
        here, there = from_outside(pair.source), from_outside(pair.destination)
        phones = [Rehearsed(pair.phone.device, model) for model in ("6901", "8861")]
        result = await rehearse(here, there, phones, Looking(), datetime.now(UTC))
    told = [(phone.outcome, phone.code) for phone in result.phones]
    assert told == [("would-migrate", "phone.registered"), ("would-fail", "tvs.invalid")]
    assert any("asks for no ITL" in entry.text for entry in result.phones[0].journal)
