"""How often something may be tried in a stretch of time."""

from datetime import timedelta

from certferry.web import throttle
from certferry.web.throttle import Throttle
from web_site import START

MINUTE = timedelta(minutes=1)


def full() -> Throttle:
    tries = Throttle(3, MINUTE)
    for _ in range(3):
        assert not tries.take("ann", START)
    return tries


def test_as_many_tries_as_allowed_go_through_and_the_next_has_to_wait() -> None:
    assert full().take("ann", START + timedelta(seconds=20)) == timedelta(seconds=40)


def test_a_refused_try_does_not_make_the_wait_longer() -> None:
    tries = full()
    tries.take("ann", START + timedelta(seconds=59))
    assert not tries.take("ann", START + MINUTE)


def test_keys_do_not_hinder_each_other() -> None:
    assert not full().take("bob", START)


def test_a_success_lets_the_key_begin_anew() -> None:
    tries = full()
    tries.forget("ann")
    assert not tries.take("ann", START)


def test_memory_stays_in_bounds_however_many_keys_come() -> None:
    tries = Throttle(3, MINUTE)
    for number in range(throttle.MOST_KEYS + 100):
        tries.take(str(number), START)
    assert len(tries._taken) <= throttle.MOST_KEYS


def test_keys_that_are_free_again_are_forgotten_first() -> None:
    tries = Throttle(3, MINUTE)
    for number in range(throttle.MOST_KEYS):
        tries.take(str(number), START)
    tries.take("late", START + 2 * MINUTE)
    assert set(tries._taken) == {"late"}
