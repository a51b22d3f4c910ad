"""``certferry trustlist`` on files: what is in a list, whether it holds, and whether a phone would take it."""

from pathlib import Path

import pytest

from certferry.cluster.cluster import Cluster
from command_line import certferry
from conftest import MakeCluster


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster("source", "11.5.1", 2, secure=True)


def written(cluster: Cluster, kind: str, folder: Path) -> Path:
    data = cluster.trust_list("CTL") if kind == "CTL" else cluster.trust_list("ITL", f"{cluster.name}-pub")
    file = folder / f"{cluster.name}.{kind}.tlv"
    file.write_bytes(data or b"")
    return file


@pytest.fixture
def itl(cluster: Cluster, tmp_path: Path) -> Path:
    return written(cluster, "ITL", tmp_path)


def test_a_list_is_shown_with_roles_and_names(itl: Path) -> None:
    shown = certferry("trustlist", "show", itl, "--json").json
    assert (shown["kind"], shown["digest"], shown["signature"]) == ("ITL", "SHA-1", "valid")
    assert shown["bytes"] == itl.stat().st_size
    assert {record["role"] for record in shown["records"]} == {"SAST", "CCM+TFTP", "TVS", "CAPF"}
    assert shown["signer"]["serial"] in {record["serial"] for record in shown["records"] if record["role"] == "SAST"}
    assert all(len(record["sha256"]) == 64 for record in shown["records"])
    assert {record["ip_address"] for record in shown["records"]} >= {"127.0.2.1"}


def test_people_see_what_show_itl_prints(itl: Path) -> None:
    text = certferry("trustlist", "show", itl).stdout
    assert "System Administrator Security Token" in text
    assert "The ITL file was verified successfully." in text


def test_a_list_changed_on_the_way_is_shown_as_invalid_and_verifies_with_4(itl: Path) -> None:
    data = bytearray(itl.read_bytes())
    data[-1] ^= 1
    itl.write_bytes(data)
    assert certferry("trustlist", "show", itl, "--json").json["signature"] in {"invalid", "unverifiable"}
    ended = certferry("trustlist", "verify", itl, "--json")
    assert ended.code == 4
    assert ended.json["ok"] is False
    assert "fail" in {check["verdict"] for check in ended.json["checks"]}


def test_a_sound_list_verifies_with_a_verdict_for_each_check(itl: Path) -> None:
    ended = certferry("trustlist", "verify", itl, "--json")
    assert (ended.code, ended.json["ok"]) == (0, True)
    assert {"id", "title", "verdict", "evidence", "remedy"} == set(ended.json["checks"][0])
    assert certferry("trustlist", "verify", itl).stdout.startswith("verdict ")


def test_a_phone_takes_a_list_of_its_own_cluster_without_tvs(cluster: Cluster, itl: Path, tmp_path: Path) -> None:
    ctl = written(cluster, "CTL", tmp_path)
    assert certferry("trustlist", "verify", ctl, "--trusted", itl).code == 0
    assert certferry("trustlist", "verify", itl, "--trusted", itl).code == 0


def test_a_phone_refuses_a_list_of_a_stranger_without_tvs(itl: Path, make_cluster: MakeCluster, tmp_path: Path) -> None:
    foreign = written(make_cluster("destination", "12.5.1", 1), "ITL", tmp_path)
    ended = certferry("trustlist", "verify", foreign, "--trusted", itl, "--json")
    assert ended.code == 4
    (refused,) = [check for check in ended.json["checks"] if check["verdict"] == "fail"]
    assert refused["id"] == "list.accepted"
    assert "tvs ask" in refused["remedy"]
    assert "tvs ask" in certferry("trustlist", "verify", foreign, "--trusted", itl).stdout


def test_a_list_emptied_for_a_rollback_shows_empty_records_and_fails(cluster: Cluster, tmp_path: Path) -> None:
    cluster.set_parameter("rollback-to-pre-8.0", "true")
    itl = written(cluster, "ITL", tmp_path)
    emptied = [record for record in certferry("trustlist", "show", itl, "--json").json["records"] if record["emptied"]]
    assert emptied
    assert all(record["sha256"] is None for record in emptied)
    assert certferry("trustlist", "verify", itl).code == 4


def test_the_ctl_of_a_cluster_that_left_mixed_mode_is_shown_emptied_and_is_sound(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.set_parameter("security-mode", "mixed")
    cluster.set_parameter("security-mode", "non-secure")
    ctl = written(cluster, "CTL", tmp_path)
    records = certferry("trustlist", "show", ctl, "--json").json["records"]
    assert {record["role"] for record in records if record["emptied"]} == {"CCM+TFTP"}
    assert "CTL Record #:1" in certferry("trustlist", "show", ctl).stdout
    verified = certferry("trustlist", "verify", ctl, "--json")
    assert verified.code == 0
    assert "list.left-mixed-mode" in {check["id"] for check in verified.json["checks"]}


def test_what_is_cut_short_is_refused_naming_the_place(itl: Path) -> None:
    whole = itl.read_bytes()
    for length in (0, 1, 100, len(whole) - 1):
        itl.write_bytes(whole[:length])
        ended = certferry("trustlist", "show", itl, "--json")
        assert ended.code == 1
        assert ended.error["code"].startswith("wire.")
