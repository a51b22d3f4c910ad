"""Whether phones hold the lists that their cluster serves."""

from hashlib import sha1

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.list_status import (
    ListStatus,
    PhoneLists,
    ServedLists,
    list_status,
    served_lists,
)
from certferry.cluster.sightings import HeldLists
from certferry.cluster.values import Phone
from certferry.trust.purpose import Purpose
from conftest import CLUSTER_BORN, MakeCluster

MATCH, MISMATCH, NOT_INSTALLED, UNKNOWN = ListStatus
OTHER = "AB" * 20
PHONE = "SEP000000000001"


@pytest.fixture
def secure(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=2, secure=True)


def hash_of(cluster: Cluster, kind: str, node: str | None = None) -> str:
    return sha1(cluster.trust_list("CTL" if kind == "CTL" else "ITL", node) or b"").hexdigest().upper()


def held(ctl: str, itl: str, device: str = PHONE) -> HeldLists:
    return HeldLists(device, ctl, itl, None, CLUSTER_BORN)


def test_the_itl_of_any_tftp_node_matches(secure: Cluster) -> None:
    ctl = hash_of(secure, "CTL")
    itls = [hash_of(secure, "ITL", node) for node in ("source-pub", "source-sub1")]
    assert served_lists(secure) == ServedLists(ctl, frozenset(itls))
    for itl in itls:
        compared = served_lists(secure).compare(held(ctl, itl))
        assert (compared.ctl, compared.itl, compared.overall) == (MATCH, MATCH, MATCH)


@pytest.mark.parametrize(
    ("ctl", "itl", "expected"),
    [
        ("CC", "11", (MATCH, MATCH, MATCH)),
        ("CC", "22", (MATCH, MATCH, MATCH)),
        ("", "11", (NOT_INSTALLED, MATCH, NOT_INSTALLED)),
        ("CC", "", (MATCH, NOT_INSTALLED, NOT_INSTALLED)),
        (OTHER, "11", (MISMATCH, MATCH, MISMATCH)),
        ("CC", OTHER, (MATCH, MISMATCH, MISMATCH)),
        (OTHER, "", (MISMATCH, NOT_INSTALLED, MISMATCH)),
        ("11", "CC", (MISMATCH, MISMATCH, MISMATCH)),
    ],
)
def test_each_list_has_its_status_and_both_one_word(ctl: str, itl: str, expected: tuple[ListStatus, ...]) -> None:
    compared = ServedLists("CC", frozenset({"11", "22"})).compare(held(ctl, itl))
    assert (compared.ctl, compared.itl, compared.overall) == expected


def test_where_the_cluster_has_no_ctl_a_phone_needs_none_and_a_foreign_one_does_not_match() -> None:
    served = ServedLists("", frozenset({"11"}))
    lists = served.compare(held("", "11"))
    assert (lists.ctl, lists.overall) == (NOT_INSTALLED, MATCH)
    assert served.compare(held(OTHER, "11")).overall is MISMATCH
    assert served.compare(None) == PhoneLists(UNKNOWN, UNKNOWN, UNKNOWN)


def test_a_page_of_phones_has_all_of_them(secure: Cluster) -> None:
    secure.sightings.note([], [held(hash_of(secure, "CTL"), hash_of(secure, "ITL", "source-pub")), held("", "", "B")])
    page = list_status(secure, [PHONE, "B", "C"])
    assert {device: status.overall for device, status in page.items()} == {
        PHONE: MATCH,
        "B": NOT_INSTALLED,
        "C": UNKNOWN,
    }


def test_a_new_list_is_compared_with_at_once(secure: Cluster) -> None:
    old = held(hash_of(secure, "CTL"), hash_of(secure, "ITL", "source-pub"))
    secure.sightings.note([], [old])
    assert list_status(secure, [PHONE])[PHONE].overall is MATCH
    secure.regenerate(Purpose.CALLMANAGER)
    assert list_status(secure, [PHONE])[PHONE].itl is MISMATCH


def test_lists_are_hashed_once_for_each_version(secure: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    served = served_lists(secure)
    reads: list[str] = []
    monkeypatch.setattr(Cluster, "trust_list", lambda *_: reads.append("read"))
    assert served_lists(secure) is served
    assert reads == []
    secure.add_phones([Phone(PHONE)])
    served_lists(secure)
    assert reads != []
