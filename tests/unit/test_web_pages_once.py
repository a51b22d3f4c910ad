"""Each change counts once, whoever clicks twice; what was typed in secret is remembered and never shown."""

from threading import Barrier, Thread

import pytest

from certferry.cluster.trust_stores import UndoImpossibleError
from certferry.web.pages.once import Outcome, Outcomes


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Outcome:
        self.count += 1
        return Outcome("done.user", {"name": str(self.count)})


def test_the_second_post_of_a_form_gets_the_first_ones_outcome() -> None:
    outcomes, act = Outcomes(), Counter()
    first = outcomes.once("ann", "k", act)
    assert outcomes.once("ann", "k", act) is first
    assert act.count == 1
    assert outcomes.find("ann", "k") is first


def test_two_posts_at_the_same_moment_act_once() -> None:
    outcomes, act, start = Outcomes(), Counter(), Barrier(8)

    def click() -> None:
        start.wait()
        outcomes.once("ann", "k", act)

    threads = [Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert act.count == 1


def test_a_refused_change_may_be_tried_again() -> None:
    outcomes, act = Outcomes(), Counter()

    def refuse() -> Outcome:
        raise UndoImpossibleError("no")

    with pytest.raises(UndoImpossibleError):
        outcomes.once("ann", "k", refuse)
    assert outcomes.once("ann", "k", act).values == {"name": "1"}


def test_outcomes_are_seen_by_their_own_user_alone() -> None:
    outcomes = Outcomes()
    outcomes.once("ann", "k", Counter())
    assert outcomes.find("bob", "k") is None
    assert outcomes.find("ann", None) is None


def test_the_oldest_outcomes_go_when_there_are_many() -> None:
    outcomes = Outcomes(kept=2)
    for key in "abc":
        outcomes.once("ann", key, Counter())
    assert outcomes.find("ann", "a") is None
    assert outcomes.find("ann", "c") is not None


def test_what_was_typed_in_secret_is_kept_until_the_form_is_through() -> None:
    outcomes = Outcomes()
    outcomes.keep_secret("ann", "k", "hunter2")
    assert outcomes.secret("ann", "k") == "hunter2"
    assert outcomes.secret("bob", "k") == ""
    outcomes.forget_secret("ann", "k")
    assert outcomes.secret("ann", "k") == ""
