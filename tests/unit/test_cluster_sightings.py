"""Sightings of phones: the last at each step stays, whoever tells it when."""

from datetime import datetime, timedelta

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import MigrationPhone, PhoneState
from certferry.cluster.sightings import ABOUT_NOW, CHUNK, GRACE, MAX_DETAIL, HeldLists, Sighting, Sightings, Step
from certferry.migrate.waves.judging import Seen, WaveCode, judge
from conftest import CLUSTER_BORN, MakeCluster
from web_site import Clock

PHONE, OTHER = "SEP000000000001", "SEP000000000002"


@pytest.fixture
def clock() -> Clock:
    """A minute after the moment from which seconds are counted."""
    return Clock(CLUSTER_BORN + timedelta(seconds=60))


@pytest.fixture
def cluster(make_cluster: MakeCluster, clock: Clock) -> Cluster:
    made = make_cluster(nodes=1)
    made._clock = clock
    return made


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


# --- a clock that is set back

HOUR = 3600


@pytest.fixture
def set_back(sightings: Sightings, clock: Clock) -> Sightings:
    """The phone was seen, and then the clock of its node was set back by an hour."""
    clock.pass_by(seconds=HOUR)
    sightings.note(
        [seen(Step.REGISTERED, HOUR, detail="before"), seen(Step.UNREGISTERED, HOUR - 9, detail="before")],
        [held(seconds=HOUR)],
    )
    clock.pass_by(seconds=-HOUR)
    return sightings


def last(sightings: Sightings, step: Step) -> str:
    return sightings.of([PHONE])[PHONE][step].detail


def test_what_is_seen_after_a_clock_was_set_back_is_not_held_for_old(set_back: Sightings) -> None:
    set_back.note([seen(Step.REGISTERED, 60, detail="after")], [held(ctl="CD" * 20, seconds=60)])
    assert last(set_back, Step.REGISTERED) == "after"
    assert set_back.held() == {PHONE: held(ctl="CD" * 20, seconds=60)}


def test_after_that_the_later_moment_stays_again(set_back: Sightings) -> None:
    set_back.note([seen(Step.REGISTERED, 60, detail="after")])
    set_back.note([seen(Step.REGISTERED, 55, detail="told late")])
    assert last(set_back, Step.REGISTERED) == "after"
    set_back.note([seen(Step.REGISTERED, 61, detail="renewed")])
    assert last(set_back, Step.REGISTERED) == "renewed"


def test_what_one_batch_saw_before_and_after_is_in_its_order(set_back: Sightings) -> None:
    set_back.note([seen(Step.TVS, HOUR, detail="before"), seen(Step.TVS, 60, detail="after")])
    assert last(set_back, Step.TVS) == "after"
    set_back.note([seen(Step.ITL, 60, detail="after"), seen(Step.ITL, HOUR, detail="before")])
    assert last(set_back, Step.ITL) == "after"


def test_of_two_moments_before_it_the_later_one_stays(set_back: Sightings) -> None:
    set_back.note([seen(Step.REGISTERED, HOUR - 1, detail="told late")])
    assert last(set_back, Step.REGISTERED) == "before"
    set_back.note([seen(Step.REGISTERED, HOUR + 1, detail="just before")])
    assert last(set_back, Step.REGISTERED) == "just before"


def test_what_was_seen_before_and_told_after_it_is_kept(set_back: Sightings) -> None:
    set_back.note([seen(Step.TVS, -HOUR, detail="old")])
    set_back.note([seen(Step.TVS, HOUR, detail="just before")])
    assert last(set_back, Step.TVS) == "just before"


def test_a_phone_that_signs_off_after_it_is_not_registered_and_one_that_comes_is(set_back: Sightings) -> None:
    assert set(set_back.registered()) == {PHONE}
    set_back.note([seen(Step.UNREGISTERED, 60)])
    assert set_back.registered() == {}
    set_back.note([seen(Step.REGISTERED, 61)])
    assert set(set_back.registered()) == {PHONE}


def test_a_phone_that_had_signed_off_before_it_is_registered_when_it_comes(set_back: Sightings, clock: Clock) -> None:
    clock.pass_by(seconds=HOUR)
    set_back.note([seen(Step.UNREGISTERED, HOUR + 1)])
    assert set_back.registered() == {}
    clock.pass_by(seconds=-HOUR)
    set_back.note([seen(Step.REGISTERED, 60)])
    assert set(set_back.registered()) == {PHONE}


def test_nodes_whose_clocks_differ_by_a_second_do_not_undo_what_the_other_saw(sightings: Sightings) -> None:
    ahead = 60 + ABOUT_NOW.total_seconds() / 2
    sightings.note([seen(Step.REGISTERED, ahead, node="ahead")])
    sightings.note([seen(Step.REGISTERED, 59, node="told late")])
    assert sightings.of([PHONE])[PHONE][Step.REGISTERED].node == "ahead"


def test_a_reader_whose_clock_is_half_a_minute_behind_sees_who_left(sightings: Sightings, clock: Clock) -> None:
    sightings.note([seen(Step.REGISTERED, 31), seen(Step.UNREGISTERED, 59)])
    clock.pass_by(seconds=-30)
    assert sightings.registered() == {}


def test_a_phone_that_came_back_after_its_cluster_s_clock_was_set_back_is_judged_so(
    set_back: Sightings, cluster: Cluster, clock: Clock
) -> None:
    reset = MigrationPhone(PHONE, 1, PhoneState.RESET, reset_at=clock())
    for step, seconds in ((Step.UNREGISTERED, 1), (Step.ITL, 2), (Step.REGISTERED, 9)):
        clock.now = moment(60 + seconds)
        set_back.note([seen(step, 60 + seconds)])
    known = Seen(None, cluster.sightings.of([PHONE])[PHONE], {})
    assert judge(reset, known, timedelta(seconds=100), clock()).code == WaveCode.CAME_BACK
