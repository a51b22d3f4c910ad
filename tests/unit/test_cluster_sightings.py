"""Sightings of phones: the last at each step stays, whoever tells it when."""

from datetime import datetime, timedelta

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.sightings import CHUNK, GRACE, MAX_DETAIL, HeldLists, Sighting, Sightings, Step
from conftest import CLUSTER_BORN, MakeCluster

PHONE, OTHER = "SEP000000000001", "SEP000000000002"


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


@pytest.fixture
def sightings(cluster: Cluster) -> Sightings:
    return cluster.sightings


def seen(step: Step, seconds: float = 0, *, device: str = PHONE, node: str = "pub", detail: str = "") -> Sighting:
    return Sighting(device, step, moment(seconds), node, "192.0.2.9", detail)


def moment(seconds: float) -> datetime:
    return CLUSTER_BORN + timedelta(seconds=seconds)


def test_a_phone_never_seen_is_not_there(sightings: Sightings) -> None:
    assert sightings.of([PHONE]) == {}
    assert sightings.registered() == {}
    assert sightings.held() == {}
    sightings.note([])


def test_each_step_of_each_phone_is_kept(sightings: Sightings) -> None:
    told = [seen(step, device=device) for step in Step for device in (PHONE, OTHER)]
    sightings.note(told)
    assert sightings.of([PHONE]) == {PHONE: {step: seen(step) for step in Step}}
    assert set(sightings.of([PHONE, OTHER, "SEP0000000000FF"])) == {PHONE, OTHER}


def test_the_later_moment_stays_in_whatever_order_it_is_told(sightings: Sightings) -> None:
    sightings.note([seen(Step.TVS, 5, detail="new"), seen(Step.TVS, 2, detail="old, in the same batch")])
    sightings.note([seen(Step.TVS, 4.5, detail="old, told late")])
    assert sightings.of([PHONE])[PHONE][Step.TVS] == seen(Step.TVS, 5, detail="new")
    sightings.note([seen(Step.TVS, 5.000001, detail="newest")])
    assert sightings.of([PHONE])[PHONE][Step.TVS].detail == "newest"


def test_a_detail_is_cut_before_it_fills_the_database(sightings: Sightings) -> None:
    sightings.note([seen(Step.TVS, detail="x" * 10_000)])
    assert len(sightings.of([PHONE])[PHONE][Step.TVS].detail) == MAX_DETAIL


def test_more_phones_than_one_statement_takes_are_found(sightings: Sightings) -> None:
    devices = [f"SEP{number:012X}" for number in range(2 * CHUNK + 1)]
    sightings.note([seen(Step.ITL, device=device) for device in devices], [held(device) for device in devices])
    assert sorted(sightings.of(devices)) == devices
    assert sorted(sightings.held(devices)) == devices


def test_a_registered_phone_is_there_until_its_node_says_that_it_left(sightings: Sightings) -> None:
    sightings.note([seen(Step.REGISTERED, 0, node="pub")])
    assert sightings.registered() == {PHONE: seen(Step.REGISTERED, 0, node="pub")}
    sightings.note([seen(Step.UNREGISTERED, 1, node="pub")])
    assert sightings.registered() == {}
    sightings.note([seen(Step.REGISTERED, 2, node="pub")])
    assert set(sightings.registered()) == {PHONE}


def test_a_phone_that_moved_to_another_node_is_not_lost_when_the_first_forgets_it(sightings: Sightings) -> None:
    sightings.note([seen(Step.REGISTERED, 0, node="pub")])
    sightings.note([seen(Step.REGISTERED, 1, node="sub")])
    sightings.note([seen(Step.UNREGISTERED, 2, node="pub")])
    assert sightings.registered()[PHONE].node == "sub"


def test_a_registration_that_nobody_renewed_is_over_even_when_its_node_died(make_cluster: MakeCluster) -> None:
    now = [CLUSTER_BORN]
    sightings = Sightings(make_cluster(nodes=1)._database, lambda: now[0])  # a clock that moves
    sightings.note([seen(Step.REGISTERED, detail="120 s over TLS"), seen(Step.REGISTERED, device=OTHER)])
    now[0] = moment(120) + GRACE
    assert set(sightings.registered()) == {PHONE, OTHER}
    now[0] += timedelta(seconds=1)
    assert set(sightings.registered()) == {OTHER}


def held(device: str = PHONE, ctl: str = "", itl: str = "AB" * 20, seconds: float = 0) -> HeldLists:
    return HeldLists(device, ctl, itl, None, moment(seconds))


def test_what_lists_a_phone_holds_is_its_last_word(sightings: Sightings) -> None:
    sightings.note([], [held(seconds=1)])
    sightings.note([], [held(ctl="CD" * 20, seconds=0)])
    assert sightings.held() == {PHONE: held(seconds=1)}
    failed = HeldLists(PHONE, "CD" * 20, "", 3, moment(2))
    sightings.note([seen(Step.REGISTERED)], [failed, held(OTHER)])
    assert sightings.held([PHONE]) == {PHONE: failed}
    assert set(sightings.held()) == {PHONE, OTHER}


def test_sightings_change_nothing_that_nodes_serve(cluster: Cluster) -> None:
    before = cluster.version(), cluster.audit_lines()
    cluster.sightings.note([seen(Step.RESET)], [held()])
    assert (cluster.version(), cluster.audit_lines()) == before
