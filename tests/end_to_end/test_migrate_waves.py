"""Phones migrate in waves: real nodes and runners in processes of their own, phones that stay and obey."""

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from certferry.lab.keys import PooledKeys
from wave_lab import begin, ended, lines_of, run, wave_lab

pytestmark = pytest.mark.slow
FAST = ("--pace", 50, "--between", 0, "--patience", 30)


@pytest.mark.parametrize("secure", [False, True], ids=["non-secure", "secure"])
async def test_all_phones_move_canaries_first_and_all_come_back(
    tmp_path: Path, key_pool: PooledKeys, secure: bool
) -> None:
    async with wave_lab(tmp_path, key_pool, phones=10, secure=secure) as lab:
        migration = await lab.plan("--canary", 2, "--wave-size", 4, *FAST)
        lab.point_to(lab.destination)
        moved = await run("migrate", "start", migration, *lab.ends, "--option150-confirmed", "--lines")
        assert moved.code == 0, moved
        lines = lines_of(moved)
        assert [line["phones"] for line in lines if line.get("event") == "wave"] == [2, 4, 4]
        assert sum(len(line["devices"]) for line in lines if line.get("event") == "moved") == 10
        assert [wave["moved"] for wave in lines[-1]["result"]["waves"]] == [2, 4, 4]
        assert {line["status"]["migration"] for line in lines if "status" in line} == {migration}
        assert lab.resets == Counter(dict.fromkeys(lab.phones, 1))

        back = await run("migrate", "back", migration, *lab.ends, "--canary", 1, "--json")
        assert back.code == 0, back
        assert len(back.json["phones"]) == 10
        lab.point_to(lab.source)
        returned = await run(
            "migrate", "start", back.json["migration"], "--source", lab.destination.location.text,
            "--option150-confirmed", "--json",
        )  # fmt: skip
        assert returned.code == 0, returned
        assert {phone["outcome"] for phone in returned.json["phones"]} == {"migrated"}
        assert len(lab.source.sightings.registered()) == 10
        assert set(lab.resets.values()) == {2}


async def test_a_broken_canary_stops_the_migration_with_its_cause(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with wave_lab(tmp_path, key_pool, phones=6) as lab:
        migration = await lab.plan("--canary", 2, "--wave-size", 10, *FAST)
        canary = lab.source.migrations.phones(migration)[0].device
        (phone,) = [phone for phone in lab.destination.phones() if phone.device == canary]
        lab.destination.remove_phones([canary])
        lab.point_to(lab.destination)

        refused = await run("migrate", "start", migration, *lab.here, "--option150-confirmed", "--json")
        assert refused.code == 4
        assert refused.json["error"]["code"] == "waves.preflight-failed"
        assert [phone["device"] for phone in refused.json["phones"]] == [canary]
        assert lab.resets == {}

        why = "change 4711"
        paused = await run(
            "migrate", "start", migration, *lab.here, "--option150-confirmed", "--override", why, "--json"
        )
        assert paused.code == 5, paused
        assert paused.json["state"] == "paused"
        assert paused.json["reason"] == "1 of the canaries failed"
        (failed,) = [phone for phone in paused.json["phones"] if phone["outcome"] == "failed"]
        assert (failed["device"], failed["step"], failed["code"]) == (canary, "configuration", "configuration.missing")
        assert paused.json["waves"][1]["waiting"] == 4
        (override,) = [
            entry
            for line in lab.source.audit_lines()
            if (entry := json.loads(line))["action"] == "override-verification"
        ]
        assert (override["reason"], override["migration"]) == (why, migration)

        lab.destination.add_phones([phone])
        await lab.until(lambda: set(lab.destination.served().values()) == {lab.destination.version()})
        lab.phones[canary].reset()
        resumed = await run("migrate", "resume", migration, *lab.here, "--json")
        assert resumed.code == 0, resumed
        assert lab.statuses(migration) == {"moved": 6}


async def test_a_runner_killed_in_mid_wave_loses_nothing_and_resets_no_phone_twice(
    tmp_path: Path, key_pool: PooledKeys
) -> None:
    async with wave_lab(tmp_path, key_pool, phones=12) as lab:
        migration = await lab.plan("--canary", 1, "--wave-size", 20, "--pace", 4, "--between", 0, "--patience", 30)
        lab.point_to(lab.destination)
        runner = await begin("migrate", "start", migration, *lab.here, "--option150-confirmed", "--lines")
        await lab.until(lambda: lab.statuses(migration)["waiting"] <= 8)
        runner.send_signal(signal.SIGKILL)
        killed = await ended(runner)
        assert killed.code == -signal.SIGKILL
        left = lab.statuses(migration)
        assert left["waiting"] > 0

        resumed = await run("migrate", "resume", migration, *lab.here, "--json")
        assert resumed.code == 0, resumed
        assert lab.resets == Counter(dict.fromkeys(lab.phones, 1))
        kinds = [event.kind for event in lab.source.migrations.events(migration)]
        assert kinds.count("started") == kinds.count("resumed") == kinds.count("finished") == 1


async def test_another_process_pauses_watches_and_may_not_steer(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with wave_lab(tmp_path, key_pool, phones=12) as lab:
        migration = await lab.plan("--canary", 0, "--wave-size", 20, "--pace", 0.5, "--between", 0, "--patience", 30)
        lab.point_to(lab.destination)
        runner = await begin("migrate", "start", migration, *lab.here, "--option150-confirmed", "--json")
        await lab.until(lambda: lab.statuses(migration)["waiting"] < 12)
        second = await run("migrate", "resume", migration, *lab.here, "--json")
        assert (second.code, second.error["code"]) == (6, "cluster.migration-locked")

        paused = await run("migrate", "pause", migration, *lab.here, "--wait", "--json")
        assert (paused.code, paused.json["state"]) == (0, "paused"), paused
        first = await ended(runner)
        assert first.code == 5
        assert first.json["reason"] == "an operator asked for it"
        status = await run("migrate", "status", migration, *lab.here, "--json")
        assert status.json == first.json | {"rate": status.json["rate"]}
        assert lab.statuses(migration)["waiting"] > 0
        assert sum(lab.resets.values()) == lab.statuses(migration)["moved"]

        resumed = await run("migrate", "resume", migration, *lab.here, "--json")
        assert resumed.code == 0, resumed
        assert lab.resets == Counter(dict.fromkeys(lab.phones, 1))


async def test_ctrl_c_leaves_a_migration_that_can_be_resumed_at_once(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with wave_lab(tmp_path, key_pool, phones=6) as lab:
        migration = await lab.plan("--canary", 0, "--pace", 1, "--patience", 30)
        lab.point_to(lab.destination)
        runner = await begin("migrate", "start", migration, *lab.here, "--option150-confirmed", "--json")
        await lab.until(lambda: lab.statuses(migration)["waiting"] < 5)
        runner.send_signal(signal.SIGINT)
        stopped = await ended(runner)
        assert (stopped.code, stopped.error["code"]) == (130, "cli.interrupted")
        assert f"certferry migrate resume {migration}" in stopped.error["remedy"]
        resumed = await run("migrate", "resume", migration, *lab.here, "--json")
        assert resumed.code == 0, resumed
        assert lab.resets == Counter(dict.fromkeys(lab.phones, 1))


async def test_without_option_150_phones_come_back_and_the_cause_is_named(tmp_path: Path, key_pool: PooledKeys) -> None:
    async with wave_lab(tmp_path, key_pool, phones=4) as lab:
        migration = await lab.plan("--canary", 2, *FAST)
        paused = await run("migrate", "start", migration, *lab.here, "--option150-confirmed", "--json")
        assert paused.code == 5, paused
        failed = [phone for phone in paused.json["phones"] if phone["outcome"] == "failed"]
        assert {phone["code"] for phone in failed} == {"wave.never-came"}
        assert all("came back to the source" in phone["reason"] for phone in failed)
