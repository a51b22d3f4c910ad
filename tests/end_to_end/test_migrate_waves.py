"""Phones migrate in waves: real nodes, runners in processes of their own where they are killed, phones that obey."""

import json
import signal
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from certferry.lab.keys import PooledKeys
from wave_lab import WaveLab, begin, ended, inside, lines_of, wave_lab

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("waves")]
FAST = ("--pace", 50, "--between", 0, "--patience", 30)
SLOW = ("--pace", 1, "--between", 0, "--patience", 120)
"""There is time enough to step in while phones wait, and for each phone to move on a busy machine."""
PHONES = 8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_lab(tmp_path_factory: pytest.TempPathFactory, key_pool: PooledKeys) -> AsyncIterator[WaveLab]:
    async with wave_lab(tmp_path_factory.mktemp("waves"), key_pool, phones=PHONES, in_processes=False) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def lab(shared_lab: WaveLab) -> WaveLab:
    """The lab of all these tests, with every phone at the source."""
    await shared_lab.all_home()
    return shared_lab


async def moves_and_returns(lab: WaveLab, waves: list[int]) -> None:
    phones = sum(waves)
    migration = await lab.plan("--canary", waves[0], "--wave-size", waves[1], *FAST, "--patience", 120)
    lab.point_to(lab.destination)
    moved = await inside("migrate", "start", migration, *lab.ends, "--option150-confirmed", "--lines")
    assert moved.code == 0, moved
    lines = lines_of(moved)
    assert [line["phones"] for line in lines if line.get("event") == "wave"] == waves
    assert sum(len(line["devices"]) for line in lines if line.get("event") == "moved") == phones
    assert [wave["moved"] for wave in lines[-1]["result"]["waves"]] == waves
    assert {line["status"]["migration"] for line in lines if "status" in line} == {migration}
    assert lab.resets == Counter(dict.fromkeys(lab.phones, 1))

    back = await inside("migrate", "back", migration, *lab.ends, "--canary", 1, "--json")
    assert back.code == 0, back
    assert len(back.json["phones"]) == phones
    lab.point_to(lab.source)
    returned = await inside(
        "migrate", "start", back.json["migration"], "--source", lab.destination.location.text,
        "--option150-confirmed", "--json",
    )  # fmt: skip
    assert returned.code == 0, returned
    assert {phone["outcome"] for phone in returned.json["phones"]} == {"migrated"}
    assert len(lab.source.sightings.registered()) == phones
    assert set(lab.resets.values()) == {2}


async def test_all_phones_move_canaries_first_and_all_come_back(lab: WaveLab) -> None:
    await moves_and_returns(lab, [2, 3, 3])


async def test_secure_phones_move_and_come_back_between_nodes_in_processes(
    tmp_path_factory: pytest.TempPathFactory, key_pool: PooledKeys
) -> None:
    async with wave_lab(tmp_path_factory.mktemp("secure"), key_pool, phones=4, secure=True) as lab:
        await moves_and_returns(lab, [1, 3])


async def test_a_broken_canary_stops_the_migration_with_its_cause(lab: WaveLab) -> None:
    migration = await lab.plan("--canary", 2, "--wave-size", 10, *FAST)
    canary = lab.source.migrations.phones(migration)[0].device
    (phone,) = [phone for phone in lab.destination.phones() if phone.device == canary]
    lab.destination.remove_phones([canary])
    lab.point_to(lab.destination)

    refused = await inside("migrate", "start", migration, *lab.here, "--option150-confirmed", "--json")
    assert refused.code == 4
    assert refused.json["error"]["code"] == "waves.preflight-failed"
    assert [phone["device"] for phone in refused.json["phones"]] == [canary]
    assert lab.resets == {}

    why = "change 4711"
    paused = await inside(
        "migrate", "start", migration, *lab.here, "--option150-confirmed", "--override", why, "--json"
    )
    assert paused.code == 5, paused
    assert paused.json["state"] == "paused"
    assert paused.json["reason"] == "1 of the canaries failed"
    (failed,) = [phone for phone in paused.json["phones"] if phone["outcome"] == "failed"]
    assert (failed["device"], failed["step"], failed["code"]) == (canary, "registration", "registration.unknown-device")
    assert paused.json["waves"][1]["waiting"] == PHONES - 2
    (override,) = [
        entry for line in lab.source.audit_lines() if (entry := json.loads(line))["action"] == "override-verification"
    ]
    assert (override["reason"], override["migration"]) == (why, migration)

    lab.destination.add_phones([phone])
    await lab.until(lambda: set(lab.destination.served().values()) == {lab.destination.version()})
    lab.phones[canary].reset()
    await lab.until(lambda: canary in lab.destination.sightings.registered())
    resumed = await inside("migrate", "resume", migration, *lab.here, "--json")
    assert resumed.code == 0, resumed
    assert lab.statuses(migration) == {"moved": PHONES}


async def test_a_runner_killed_in_mid_wave_loses_nothing_and_resets_no_phone_twice(lab: WaveLab) -> None:
    migration = await lab.plan("--canary", 1, *SLOW)
    lab.point_to(lab.destination)
    runner = await begin("migrate", "start", migration, *lab.here, "--option150-confirmed", "--lines")
    await lab.until(lambda: lab.statuses(migration)["waiting"] < PHONES - 1, by=runner)
    runner.send_signal(signal.SIGKILL)
    killed = await ended(runner)
    assert killed.code == -signal.SIGKILL
    left = lab.statuses(migration)
    assert left["waiting"] > 0

    resumed = await inside("migrate", "resume", migration, *lab.here, "--json")
    assert resumed.code == 0, resumed
    assert lab.resets == Counter(dict.fromkeys(lab.phones, 1))
    kinds = [event.kind for event in lab.source.migrations.events(migration)]
    assert kinds.count("started") == kinds.count("resumed") == kinds.count("finished") == 1


async def test_another_process_pauses_watches_and_may_not_steer(lab: WaveLab) -> None:
    migration = await lab.plan("--canary", 0, *SLOW, "--pace", 0.5)
    lab.point_to(lab.destination)
    runner = await begin("migrate", "start", migration, *lab.here, "--option150-confirmed", "--json")
    await lab.until(lambda: lab.statuses(migration)["waiting"] < PHONES, by=runner)
    second = await inside("migrate", "resume", migration, *lab.here, "--json")
    assert (second.code, second.error["code"]) == (6, "cluster.migration-locked")

    paused = await inside("migrate", "pause", migration, *lab.here, "--wait", "--json")
    assert (paused.code, paused.json["state"]) == (0, "paused"), paused
    first = await ended(runner)
    assert first.code == 5
    assert first.json["reason"] == "an operator asked for it"
    status = await inside("migrate", "status", migration, *lab.here, "--json")
    assert status.json == first.json | {"rate": status.json["rate"]}
    assert lab.statuses(migration)["waiting"] > 0
    assert sum(lab.resets.values()) == lab.statuses(migration)["moved"]

    resumed = await inside("migrate", "resume", migration, *lab.here, "--json")
    assert resumed.code == 0, resumed
    assert lab.resets == Counter(dict.fromkeys(lab.phones, 1))


async def test_ctrl_c_leaves_a_migration_that_can_be_resumed_at_once(lab: WaveLab) -> None:
    migration = await lab.plan("--canary", 0, *SLOW)
    lab.point_to(lab.destination)
    runner = await begin("migrate", "start", migration, *lab.here, "--option150-confirmed", "--json")
    await lab.until(lambda: lab.statuses(migration)["waiting"] < PHONES - 1, by=runner)
    runner.send_signal(signal.SIGINT)
    stopped = await ended(runner)
    assert (stopped.code, stopped.error["code"]) == (130, "cli.interrupted")
    assert f"certferry migrate resume {migration}" in stopped.error["remedy"]
    resumed = await inside("migrate", "resume", migration, *lab.here, "--json")
    assert resumed.code == 0, resumed
    assert lab.resets == Counter(dict.fromkeys(lab.phones, 1))


async def test_without_option_150_phones_come_back_and_the_cause_is_named(lab: WaveLab) -> None:
    migration = await lab.plan("--canary", 2, *FAST)
    paused = await inside("migrate", "start", migration, *lab.here, "--option150-confirmed", "--json")
    assert paused.code == 5, paused
    failed = [phone for phone in paused.json["phones"] if phone["outcome"] == "failed"]
    assert {phone["code"] for phone in failed} == {"wave.never-came"}
    assert all("came back to the source" in phone["reason"] for phone in failed)
