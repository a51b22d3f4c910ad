"""Phones are found by what they hold and where they registered, as the list status says it, in the database."""

from datetime import timedelta

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.list_status import list_status, served_lists
from certferry.cluster.phone_search import STATUSES, PhoneLine, PhoneQuery, ServedDigests
from certferry.cluster.searching import Slice
from certferry.cluster.sightings import HeldLists, Sighting, Step
from certferry.cluster.values import Phone
from conftest import CLUSTER_BORN, MakeCluster

SOME = Slice(0, 50)
OLD = "AB" * 20
NOW = CLUSTER_BORN
EVERY = PhoneQuery()


def digests(cluster: Cluster) -> ServedDigests:
    served = served_lists(cluster)
    return ServedDigests(served.ctl, served.itls)


def found(cluster: Cluster, query: PhoneQuery = EVERY, part: Slice = SOME) -> list[PhoneLine]:
    return list(cluster.phone_search.find(query, digests(cluster), part).items)


def held(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """What each phone says it holds: CTL and ITL, in every combination."""
    served = served_lists(cluster)
    itl = min(served.itls)
    pairs = [(ctl, each) for ctl in dict.fromkeys((served.ctl, "", OLD)) for each in (itl, "", OLD)]
    return {f"SEP00000000{place:04X}": pair for place, pair in enumerate(pairs)}


@pytest.fixture(params=[True, False], ids=["mixed mode", "non-secure"])
def cluster(make_cluster: MakeCluster, request: pytest.FixtureRequest) -> Cluster:
    made = make_cluster(nodes=2, secure=request.param)
    told = held(made)
    made.add_phones([Phone(device, description=f"desk {device[-1]}") for device in (*told, "SEPFFFFFFFFFFFF")])
    made.sightings.note([], [HeldLists(device, *pair, None, NOW) for device, pair in told.items()])
    return made


def test_the_database_says_of_every_combination_what_the_list_status_says(cluster: Cluster) -> None:
    lines = {line.phone.device: line for line in found(cluster)}
    expected = list_status(cluster, lines)
    assert {d: (line.ctl, line.itl, line.status) for d, line in lines.items()} == {
        d: (each.ctl, each.itl, each.overall) for d, each in expected.items()
    }


def test_each_status_is_found_counted_and_nothing_is_lost(cluster: Cluster) -> None:
    counts = cluster.phone_search.count(digests(cluster))
    assert tuple(counts) == STATUSES
    assert counts["unknown"] == 1
    for status in STATUSES:
        lines = found(cluster, PhoneQuery(status=status))
        assert len(lines) == counts[status] > 0
        assert {line.status for line in lines} == {status}
    assert sum(counts.values()) == len(held(cluster)) + 1


def test_holders_of_each_list_are_counted(cluster: Cluster) -> None:
    holders = cluster.phone_search.holders()
    pairs = held(cluster).values()
    assert holders["ITL", OLD] == sum(itl == OLD for _, itl in pairs)
    assert holders["CTL", ""] == sum(ctl == "" for ctl, _ in pairs)


def test_conditions_hold_together_and_pages_follow(cluster: Cluster) -> None:
    query = PhoneQuery(text="desk 1", status="not installed")
    assert [line.phone.device for line in found(cluster, query)] == ["SEP000000000001"]
    assert found(cluster, PhoneQuery(group="nowhere")) == []
    devices = [line.phone.device for line in found(cluster)]
    assert [line.phone.device for line in found(cluster, part=Slice(2, 3))] == devices[2:5]
    down = found(cluster, PhoneQuery(sort="status", descending=True))
    assert [line.status for line in down] == sorted((line.status for line in down), reverse=True)


# --- where and when


def seen(step: Step, *, node: str = "n1", minutes: float = 0, detail: str = "3600") -> Sighting:
    return Sighting("SEP000000000000", step, NOW + timedelta(minutes=minutes), node, "192.0.2.9", detail)


@pytest.mark.parametrize(
    ("sightings", "is_registered"),
    [
        ([seen(Step.REGISTERED)], True),
        ([seen(Step.REGISTERED, minutes=-2), seen(Step.UNREGISTERED, minutes=-1)], False),
        ([seen(Step.REGISTERED, minutes=-1), seen(Step.UNREGISTERED, minutes=-2)], True),
        ([seen(Step.REGISTERED, minutes=-1), seen(Step.UNREGISTERED, minutes=-1)], False),
        ([seen(Step.REGISTERED, minutes=-2), seen(Step.UNREGISTERED, node="n2", minutes=-1)], True),
        # told by a clock that was set back by an hour since
        ([seen(Step.REGISTERED, minutes=58), seen(Step.UNREGISTERED, minutes=-1)], False),
        ([seen(Step.REGISTERED, minutes=-1), seen(Step.UNREGISTERED, minutes=58)], True),
        ([seen(Step.REGISTERED, minutes=57), seen(Step.UNREGISTERED, minutes=58)], False),
        ([seen(Step.REGISTERED, minutes=58), seen(Step.UNREGISTERED, minutes=57)], True),
        ([seen(Step.REGISTERED, minutes=-90)], False),
        ([seen(Step.REGISTERED, minutes=-30)], True),
    ],
)
def test_a_registration_lasts_as_the_sightings_say(
    cluster: Cluster, sightings: list[Sighting], *, is_registered: bool
) -> None:
    cluster.sightings.note(sightings)
    (line,) = found(cluster, PhoneQuery(text="SEP000000000000"))
    assert line.is_registered is is_registered
    assert (line.node, line.address) == ("n1", "192.0.2.9")
    assert is_registered == ("SEP000000000000" in cluster.sightings.registered())
    assert dict(cluster.phone_search.registered()) == ({"n1": 1} if is_registered else {})


def test_phones_are_sorted_by_when_they_registered(cluster: Cluster) -> None:
    for minutes, device in enumerate(("SEP000000000003", "SEP000000000001")):
        at = NOW + timedelta(minutes=minutes)
        cluster.sightings.note([Sighting(device, Step.REGISTERED, at, "n1", "", "3600")])
    first = found(cluster, PhoneQuery(sort="registered", descending=True), Slice(0, 3))
    assert [line.phone.device for line in first[:2]] == ["SEP000000000001", "SEP000000000003"]
    assert (first[2].node, first[2].registered_at) == ("", None)
