"""How often a login may be tried, and what a flood of them costs."""

from datetime import timedelta

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.web_tries import Rate, WebTries
from certferry.web import throttle as module
from certferry.web.throttle import BY_ADDRESS, BY_USER, FRESH, MOST_LINES, WINDOW, Lines, Login, Throttle
from conftest import MakeCluster
from web_site import START

ANN = Login("ann", "192.0.2.1")
SECOND = timedelta(seconds=1)


class Counted(WebTries):
    """A ledger that tells how often it was asked."""

    asked = 0

    def take(self, *arguments: object) -> dict[str, timedelta]:
        self.asked += 1
        return super().take(*arguments)  # type: ignore[arg-type]


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


@pytest.fixture
def ledger(cluster: Cluster) -> Counted:
    return Counted(cluster._database)


@pytest.fixture
def throttle(ledger: Counted) -> Throttle:
    return Throttle(ledger)


@pytest.fixture
def other(ledger: Counted) -> Throttle:
    """Another server of the same cluster."""
    return Throttle(ledger)


def fill(throttle: Throttle, login: Login = ANN) -> None:
    for _ in range(BY_USER.most):
        assert not throttle.take(login, START)


def test_a_user_at_one_address_has_to_wait_at_every_server(throttle: Throttle, other: Throttle) -> None:
    fill(throttle)
    assert throttle.take(ANN, START + SECOND) == WINDOW - SECOND
    assert other.take(ANN, START + SECOND) == WINDOW - SECOND
    assert not other.take(ANN, START + WINDOW)


def test_tries_at_several_servers_add_up(throttle: Throttle, other: Throttle) -> None:
    for number in range(BY_USER.most):
        assert not (throttle, other)[number % 2].take(ANN, START)
    assert other.take(ANN, START)


def test_a_server_that_starts_anew_counts_on(throttle: Throttle, ledger: Counted) -> None:
    fill(throttle)
    assert Throttle(ledger).take(ANN, START)


def test_the_same_user_is_let_try_from_elsewhere(throttle: Throttle) -> None:
    fill(throttle)
    assert throttle.take(ANN, START)
    assert not throttle.take(Login("ann", "192.0.2.2"), START)


def test_an_address_does_not_try_name_after_name(throttle: Throttle) -> None:
    for number in range(BY_ADDRESS.most):
        assert not throttle.take(Login(f"user{number}", ANN.address), START)
    assert throttle.take(Login("another", ANN.address), START) == WINDOW


def test_who_goes_on_trying_one_user_keeps_nobody_else_from_the_same_address_out(throttle: Throttle) -> None:
    fill(throttle)
    for number in range(10 * BY_ADDRESS.most):
        assert throttle.take(ANN, START + number * SECOND)
    assert not throttle.take(Login("bob", ANN.address), START + SECOND)


def test_a_name_is_not_guessed_at_for_long_from_many_addresses(
    throttle: Throttle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BY_NAME", Rate(6, WINDOW))
    for number in range(6):
        assert not throttle.take(Login("ann", f"192.0.2.{number}"), START)
    assert throttle.take(Login("ann", "198.51.100.1"), START)


def test_a_success_lets_the_user_begin_anew_at_that_address(throttle: Throttle, other: Throttle) -> None:
    fill(throttle)
    assert throttle.take(ANN, START)
    throttle.forget(ANN)
    assert not other.take(ANN, START)
    assert not throttle.take(ANN, START)


def test_another_server_that_refused_somebody_hears_of_a_success_within_seconds(
    throttle: Throttle, other: Throttle
) -> None:
    fill(throttle)
    assert other.take(ANN, START)
    throttle.forget(ANN)
    assert other.take(ANN, START)
    assert not other.take(ANN, START + FRESH)


def test_names_and_addresses_that_look_alike_are_told_apart() -> None:
    keys = [
        key
        for login in (Login("x from y", "z"), Login("x", "y from z"), Login("z", "x"), Login("address z", "q"))
        for key in login.rates
    ]
    assert len(keys) == len(set(keys)) + 1, "one user is written like another, which takes an address with spaces"


# --- what a flood costs


def test_who_goes_on_trying_costs_the_database_one_look_in_seconds(throttle: Throttle, ledger: Counted) -> None:
    fill(throttle)
    before = ledger.asked
    for tenths in range(200):
        assert throttle.take(ANN, START + SECOND * tenths / 10)
    assert ledger.asked - before == 20 / FRESH.total_seconds()


def test_an_address_that_has_to_wait_costs_nothing_whatever_names_it_tries(throttle: Throttle, ledger: Counted) -> None:
    for number in range(BY_ADDRESS.most + 1):
        throttle.take(Login(f"user{number}", ANN.address), START)
    before, rows = ledger.asked, ledger.count()
    for number in range(1000):
        assert throttle.take(Login(f"another{number}", ANN.address), START + SECOND) == WINDOW - SECOND
    assert (ledger.asked, ledger.count()) == (before, rows)


def test_memory_stays_in_bounds(throttle: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 2)
    monkeypatch.setattr(module, "BY_USER", Rate(1, WINDOW))
    for number in range(6):
        login = Login(f"user{number}", f"192.0.2.{number}")
        assert not throttle.take(login, START)
        assert throttle.take(login, START)
        assert len(throttle._shut) <= 3


def test_a_clock_set_back_keeps_nobody_waiting(throttle: Throttle) -> None:
    fill(throttle)
    assert throttle.take(ANN, START)
    assert not throttle.take(ANN, START - timedelta(hours=1))


# --- lines of the audit log


def test_each_refused_login_is_a_line_until_there_are_too_many() -> None:
    lines = Lines()
    assert [lines.take(START) for _ in range(MOST_LINES)] == [0] * MOST_LINES
    assert lines.take(START + WINDOW - SECOND) is None


def test_lines_left_out_are_told_by_the_next_one() -> None:
    lines = Lines()
    for _ in range(MOST_LINES + 7):
        lines.take(START)
    assert lines.take(START + WINDOW) == 7
    assert lines.take(START + WINDOW) == 0


def test_lines_are_written_again_when_the_clock_is_set_back() -> None:
    lines = Lines()
    for _ in range(MOST_LINES + 1):
        lines.take(START)
    assert lines.take(START - SECOND) == 1
