"""``certferry cluster``, ``phone`` and ``audit``: what is created and set can be seen, as text and as JSON."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from certferry.cluster.cluster import Cluster
from certferry.lab.keys import PooledKeys
from command_line import Ended, certferry, loopback_cluster

PHONE = "SEP001122334455"


@pytest.fixture(autouse=True)
def no_cluster_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CERTFERRY_CLUSTER", raising=False)


@pytest.fixture
def at(tmp_path: Path, key_pool: PooledKeys) -> list[str]:
    loopback_cluster(tmp_path / "cluster", key_pool, count=2, secure=True).close()
    return ["--cluster", str(tmp_path / "cluster")]


def show(at: list[str]) -> dict[str, Any]:
    shown: dict[str, Any] = certferry("cluster", "show", *at, "--json").json
    return shown


# --- create


def create(*words: object) -> Ended:
    return certferry("cluster", "create", "tokyo", "--node", "pub=192.0.2.1:publisher,tftp,tvs,callmanager", *words)


def test_a_created_cluster_is_described_and_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = create("--release", "10.5.2", "--secure", "--json")
    assert made.code == 0
    assert (made.json["name"], made.json["release"], made.json["security_mode"]) == ("tokyo", "10.5.2", "mixed")
    assert {each["kind"] for each in made.json["trust_lists"]} == {"CTL", "ITL"}
    assert (tmp_path / "tokyo" / "cluster.sqlite").is_file()
    assert made.json == show(["--cluster", "tokyo"])
    again = create("--release", "10.5.2", "--json")
    assert (again.code, again.error["code"]) == (1, "cluster.exists")


@pytest.mark.parametrize(
    "words",
    [
        ["--release", "9.1"],
        ["--release", "eleven"],
        ["--release", "14", "--node", "pub2=192.0.2.2:publisher"],
        ["--release", "14", "--node", "sub=192.0.2.2:tvs,unheard"],
        ["--release", "14", "--node", "sub=host.example:tvs"],
        ["--release", "14", "--node", "sub"],
        ["--release", "14", "--node", "PUB=192.0.2.2:tvs"],
        [],
    ],
)
def test_a_cluster_that_cannot_be_is_wrong_usage_and_leaves_nothing(tmp_path: Path, words: list[str]) -> None:
    assert create(*words, "--cluster", tmp_path / "tokyo").code == 2
    assert not list(tmp_path.glob("tokyo/*"))


# --- show and set


def test_a_cluster_is_shown_as_tables(at: list[str]) -> None:
    text = certferry("cluster", "show", *at).stdout
    for words in (
        "source  release 11.5.1  mixed",
        "Prepare Cluster for Rollback to Pre 8.0",
        "source-sub1",
        "CN=source",
    ):
        assert words in text


def test_the_change_that_each_node_serves_is_shown_beside_the_latest(at: list[str]) -> None:
    with closing(Cluster.open(at[1])) as cluster:
        cluster.report_served({"source-sub1": 1})
        latest = cluster.version()
    text = certferry("cluster", "show", *at).stdout
    assert text.splitlines()[0].endswith(f"  change {latest}")
    served = {line.split()[0]: line.split()[-1] for line in text.splitlines() if line.startswith("source-")}
    assert (served["source-sub1"], served["source-pub"]) == ("1", "-")


def test_a_parameter_is_set_and_tells_what_was_rebuilt(at: list[str]) -> None:
    done = certferry("cluster", "set", "rollback-to-pre-8.0", "true", *at, "--json").json
    assert done["key"] == "rollback-to-pre-8.0"
    assert any("ITL" in name for name in done["rebuilt"])
    assert show(at)["parameters"]["rollback-to-pre-8.0"] == "true"
    assert (
        "Phones take them at their next reset" in certferry("cluster", "set", "rollback-to-pre-8.0", "no", *at).stdout
    )


def test_ports_and_groups_are_set_by_name(at: list[str]) -> None:
    assert certferry("cluster", "set", "port.source-pub.tftp", "10069", *at).code == 0
    assert certferry("cluster", "set", "group.Night", "source-pub, source-sub1", *at).code == 0
    shown = show(at)
    assert shown["nodes"][0]["ports"]["tftp"] == 10069
    assert {"name": "Night", "members": ["source-pub", "source-sub1"]} in shown["groups"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("unheard", "1"),
        ("rollback-to-pre-8.0", "maybe"),
        ("security-mode", "secret"),
        ("port.source-pub.tftp", "0"),
        ("port.source-pub.tftp", "65536"),
        ("port.source-pub.smtp", "25"),
        ("port.nobody.tftp", "69"),
        ("port.tftp", "69"),
        ("group.Night", "nobody"),
        ("group.Night", ""),
    ],
)
def test_a_setting_that_cannot_be_is_wrong_usage(at: list[str], key: str, value: str) -> None:
    before = show(at)
    assert certferry("cluster", "set", key, value, *at).code == 2
    assert show(at) == before


# --- phone


def test_phones_are_added_listed_and_removed(at: list[str]) -> None:
    added = certferry("phone", "add", "00:11:22:33:44:55", "sep001122334466", "--secure", *at, "--json").json
    assert added["added"] == 2
    listed = certferry("phone", "list", *at, "--json").json["phones"]
    assert listed[0] == {"device": PHONE, "model": "8861", "group": "Default", "secure": True, "description": ""}
    assert certferry("phone", "remove", PHONE, *at, "--json").json == {"removed": [PHONE]}
    assert "SEP001122334466  8861" in certferry("phone", "list", *at).stdout


def test_a_cluster_tells_how_many_phones_it_has_without_reading_them(
    at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    certferry("phone", "add", PHONE, "SEP001122334466", *at)
    monkeypatch.setattr(Cluster, "phones", lambda _: pytest.fail("all phones were read to be counted"))
    assert show(at)["phones"] == 2


def test_an_unknown_phone_is_not_removed_nor_is_any_other(at: list[str]) -> None:
    certferry("phone", "add", PHONE, *at)
    assert certferry("phone", "remove", PHONE, "SEP00000000000A", *at).code == 2
    assert len(certferry("phone", "list", *at, "--json").json["phones"]) == 1


def test_phones_come_from_a_csv(at: list[str], tmp_path: Path) -> None:
    lines = ["device,model,group,secure,description", f"{PHONE},7962,Default,true,受付", "00-11-22-33-44-66,,,,"]
    (tmp_path / "phones.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    assert certferry("phone", "import", tmp_path / "phones.csv", *at).code == 0
    first, second = certferry("phone", "list", *at, "--json").json["phones"]
    assert (first["model"], first["secure"], first["description"]) == ("7962", True, "受付")
    assert (second["model"], second["secure"]) == ("8861", False)


def test_what_is_written_into_a_description_is_shown_as_it_is(at: list[str], tmp_path: Path) -> None:
    odd = "[bold]:b: \\[x] \x1b[31mred"
    (tmp_path / "phones.csv").write_text(f"device,description\n{PHONE},{odd}\n")
    assert certferry("phone", "import", tmp_path / "phones.csv", *at).code == 0
    assert "[bold]:b: \\[x] \\u001b[31mred" in certferry("phone", "list", *at).stdout
    assert certferry("phone", "list", *at, "--json").json["phones"][0]["description"] == odd


# --- audit


def test_the_audit_log_is_shown_and_verified(at: list[str]) -> None:
    certferry("phone", "add", PHONE, *at)
    lines = certferry("audit", "show", *at).stdout.splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["create-cluster", "add-phones"]
    assert certferry("audit", "show", *at, "--json").json == {"lines": [json.loads(line) for line in lines]}
    assert certferry("audit", "verify", *at, "--json").json == {"ok": True, "lines": 2}


def test_a_changed_audit_log_ends_with_4(at: list[str]) -> None:
    with sqlite3.connect(Path(at[1]) / "cluster.sqlite") as database:
        database.execute("UPDATE audit SET line = replace(line, 'create-cluster', 'nothing')")
    database.close()
    ended = certferry("audit", "verify", *at, "--json")
    assert (ended.code, ended.error["code"]) == (4, "cluster.audit-broken")


# --- leaving mixed mode


def kinds(at: list[str]) -> set[str]:
    return {each["kind"] for each in show(at)["trust_lists"]}


def test_a_cluster_that_left_mixed_mode_shows_its_emptied_ctl_until_it_is_deleted(at: list[str]) -> None:
    assert certferry("cluster", "set", "security-mode", "non-secure", *at).code == 0
    assert show(at)["security_mode"] == "non-secure"
    assert kinds(at) == {"CTL", "ITL"}
    assert certferry("cluster", "delete-ctl", *at).code == 0
    assert kinds(at) == {"ITL"}
    assert certferry("cluster", "delete-ctl", *at, "--json").error["code"] == "cluster.ctl-missing"


def test_the_ctl_of_mixed_mode_is_not_deleted(at: list[str]) -> None:
    assert certferry("cluster", "delete-ctl", *at, "--json").error["code"] == "cluster.ctl-needed"
    assert kinds(at) == {"CTL", "ITL"}
