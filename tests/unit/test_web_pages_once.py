"""Each change counts once, whoever clicks twice at whichever server; what was typed in secret is never shown."""

import subprocess
import sys
from hashlib import sha256
from threading import Barrier, Event, Thread

import pytest
from sqlalchemy import select

from certferry.cluster import schema
from certferry.cluster.cluster import Cluster
from certferry.cluster.database import DatabaseError
from certferry.cluster.sealing import SealError
from certferry.cluster.trust_stores import UndoImpossibleError
from certferry.cluster.web_outcomes import FormKey, WebOutcomes
from certferry.web.leases import own_name
from certferry.web.pages import once as once_module
from certferry.web.pages.once import LEASE, LIFE, SECRET_LIFE, Outcome, Outcomes
from conftest import MakeCluster
from web_site import START, Clock


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Outcome:
        self.count += 1
        return Outcome("done.user", {"name": str(self.count)}, ["a", "b"], "/there")


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


@pytest.fixture
def ledger(cluster: Cluster) -> WebOutcomes:
    return cluster.web_outcomes


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outcomes(ledger: WebOutcomes, clock: Clock) -> Outcomes:
    return Outcomes(ledger, clock, name="osaka/pid:[1]/4711/abcd")


@pytest.fixture
def elsewhere(ledger: WebOutcomes, clock: Clock) -> Outcomes:
    """Another server of the same cluster, on another machine: nothing is known there of whether the first one lives."""
    return Outcomes(ledger, clock, name="tokyo/pid:[1]/4711/abcd")


def test_the_second_post_of_a_form_gets_the_first_ones_outcome(outcomes: Outcomes) -> None:
    act = Counter()
    first = outcomes.once("ann", "k", act)
    assert outcomes.once("ann", "k", act) == first
    assert act.count == 1
    assert outcomes.find("ann", "k") == first == Outcome("done.user", {"name": "1"}, ["a", "b"], "/there")


def test_the_second_post_may_come_to_another_server(outcomes: Outcomes, elsewhere: Outcomes) -> None:
    act = Counter()
    first = outcomes.once("ann", "k", act)
    assert elsewhere.once("ann", "k", act) == elsewhere.find("ann", "k") == first
    assert act.count == 1


def test_posts_at_the_same_moment_act_once_and_all_learn_of_it(outcomes: Outcomes, elsewhere: Outcomes) -> None:
    act, start, learnt = Counter(), Barrier(6), list[Outcome]()

    def click(server: Outcomes) -> None:
        start.wait()
        learnt.append(server.once("ann", "k", act))

    threads = [Thread(target=click, args=(server,)) for server in (outcomes, elsewhere) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert act.count == 1
    assert len(learnt) == 6
    assert set(map(repr, learnt)) == {repr(learnt[0])}


def test_a_refused_change_may_be_tried_again(outcomes: Outcomes, elsewhere: Outcomes) -> None:
    act = Counter()

    def refuse() -> Outcome:
        raise UndoImpossibleError("no")

    with pytest.raises(UndoImpossibleError):
        outcomes.once("ann", "k", refuse)
    assert outcomes.find("ann", "k") is None
    assert elsewhere.once("ann", "k", act).values == {"name": "1"}


def test_who_waits_for_a_change_that_is_refused_tries_it(
    outcomes: Outcomes, elsewhere: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, begun, waits = Counter(), Event(), Event()
    monkeypatch.setattr(once_module, "sleep", lambda _seconds: waits.set())

    def refuse() -> Outcome:
        begun.set()
        waits.wait(20)
        raise UndoImpossibleError("no")

    def click() -> None:
        with pytest.raises(UndoImpossibleError):
            outcomes.once("ann", "k", refuse)

    thread = Thread(target=click)
    thread.start()
    assert begun.wait(20)
    assert elsewhere.once("ann", "k", act).values == {"name": "1"}
    thread.join()


def _leave_behind(ledger: WebOutcomes, name: str) -> None:
    """Begin a change and die."""
    form = FormKey("ann", sha256(b"k").hexdigest())
    assert ledger.begin(form, name, START, START + LEASE, lambda _runner: False).is_mine


def test_a_change_that_a_killed_server_began_is_done_by_the_next_one(outcomes: Outcomes, ledger: WebOutcomes) -> None:
    names = "from certferry.web.leases import own_name; print(own_name())"
    gone = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True).stdout.strip()
    _leave_behind(ledger, gone)
    assert outcomes.once("ann", "k", Counter()).values == {"name": "1"}


def test_a_change_of_a_server_elsewhere_is_waited_for_until_its_lease_is_over(
    outcomes: Outcomes, ledger: WebOutcomes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave_behind(ledger, "tokyo/pid:[1]/4711/abcd")
    monkeypatch.setattr(once_module, "sleep", lambda _seconds: clock.pass_by(seconds=10))
    assert outcomes.once("ann", "k", Counter()).values == {"name": "1"}
    assert clock() == START + LEASE


def test_a_server_waits_for_its_own_change_too(
    outcomes: Outcomes, ledger: WebOutcomes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_name()
    _leave_behind(ledger, own)
    monkeypatch.setattr(once_module, "sleep", lambda _seconds: clock.pass_by(seconds=10))
    assert Outcomes(ledger, clock, name=own).once("ann", "k", Counter()).values == {"name": "1"}
    assert clock() == START + LEASE


def test_a_change_that_was_made_is_told_even_if_the_ledger_fails_then(
    outcomes: Outcomes, ledger: WebOutcomes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_arguments: object) -> None:
        raise DatabaseError("the disk is full")

    monkeypatch.setattr(WebOutcomes, "end", full)
    assert outcomes.once("ann", "k", Counter()).values == {"name": "1"}
    assert "that a change was made is not kept: the disk is full" in caplog.text


def test_outcomes_are_seen_by_their_own_user_alone(outcomes: Outcomes) -> None:
    outcomes.once("ann", "k", Counter())
    assert outcomes.find("bob", "k") is None
    assert outcomes.find("ann", None) is None
    assert outcomes.find("ann", "") is None


@pytest.mark.parametrize("key", ["\x00", "k" * 100_000, "\udcff", "鍵"])
def test_a_key_may_be_anything_that_a_browser_sends(outcomes: Outcomes, key: str) -> None:
    act = Counter()
    outcomes.once("ann", key, act)
    outcomes.once("ann", key, act)
    assert act.count == 1


def test_the_oldest_outcomes_go_when_there_are_many(
    outcomes: Outcomes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once_module, "KEPT", 2)
    for key in "abc":
        outcomes.once("ann", key, Counter())
        clock.pass_by(seconds=1)
    assert [outcomes.find("ann", key) is not None for key in "abc"] == [False, True, True]


def test_outcomes_go_after_a_day(outcomes: Outcomes, clock: Clock) -> None:
    outcomes.once("ann", "old", Counter())
    clock.now += LIFE
    outcomes.once("ann", "new", Counter())
    assert outcomes.find("ann", "old") is None


def test_what_was_typed_in_secret_is_kept_until_the_form_is_through(outcomes: Outcomes, elsewhere: Outcomes) -> None:
    outcomes.keep_secret("ann", "k", "hunter1")
    outcomes.keep_secret("ann", "k", "hunter2")
    assert elsewhere.secret("ann", "k") == "hunter2"
    assert outcomes.secret("bob", "k") == ""
    assert outcomes.secret("ann", "") == ""
    elsewhere.forget_secret("ann", "k")
    assert outcomes.secret("ann", "k") == ""


def test_nothing_typed_is_nothing_kept(outcomes: Outcomes) -> None:
    outcomes.keep_secret("ann", "k", "hunter2")
    outcomes.keep_secret("ann", "k", "")
    assert outcomes.secret("ann", "k") == "hunter2"


def test_a_secret_is_forgotten_after_half_an_hour(outcomes: Outcomes, cluster: Cluster, clock: Clock) -> None:
    outcomes.keep_secret("ann", "k", "hunter2")
    clock.now += SECRET_LIFE
    assert outcomes.secret("ann", "k") == ""
    outcomes.keep_secret("ann", "other", "hunter3")
    assert len(_rows(cluster)) == 1


def test_a_secret_is_never_written_in_clear_and_serves_its_own_form_alone(outcomes: Outcomes, cluster: Cluster) -> None:
    outcomes.keep_secret("ann", "k", "hunter2")
    (row,) = _rows(cluster)
    assert b"hunter2" not in row
    with cluster._database.write() as connection:
        connection.execute(schema.web_secret.update().values(user="bob"))
    with pytest.raises(SealError):
        outcomes.secret("bob", "k")


def _rows(cluster: Cluster) -> list[bytes]:
    with cluster._database.read() as connection:
        return list(connection.scalars(select(schema.web_secret.c.sealed)))
