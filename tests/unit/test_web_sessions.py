"""Sessions end when they are idle, old, logged out, or too many."""

from datetime import timedelta

from certferry.web.sessions import IDLE, LONGEST, MOST_OF_ONE_USER, Sessions
from web_site import START


def test_a_session_is_found_by_its_id_alone() -> None:
    sessions = Sessions()
    identifier, session = sessions.open("ann", START)
    assert sessions.find(identifier, START) is session
    assert sessions.find(identifier[:-1], START) is None
    assert sessions.find(None, START) is None


def test_ids_and_csrf_tokens_never_repeat() -> None:
    sessions = Sessions()
    opened = [sessions.open("ann", START) for _ in range(10)]
    assert len({text for identifier, session in opened for text in (identifier, session.csrf)}) == 20


def test_the_server_does_not_keep_the_id_itself() -> None:
    sessions = Sessions()
    identifier, _ = sessions.open("ann", START)
    assert identifier not in repr(sessions._sessions)


def test_a_session_ends_when_it_was_idle_too_long() -> None:
    sessions = Sessions()
    identifier, _ = sessions.open("ann", START)
    assert sessions.find(identifier, START + IDLE) is None


def test_use_keeps_a_session_alive() -> None:
    sessions = Sessions()
    identifier, _ = sessions.open("ann", START)
    assert sessions.find(identifier, START + IDLE / 2)
    assert sessions.find(identifier, START + IDLE * 1.4)


def test_a_session_ends_when_it_is_old_however_much_it_is_used() -> None:
    sessions = Sessions()
    identifier, _ = sessions.open("ann", START)
    now = START
    while now < START + LONGEST - IDLE / 2:
        assert sessions.find(identifier, now)
        now += IDLE / 2
    assert sessions.find(identifier, START + LONGEST) is None


def test_a_closed_session_is_gone() -> None:
    sessions = Sessions()
    identifier, _ = sessions.open("ann", START)
    sessions.close(identifier)
    sessions.close(None)
    assert sessions.find(identifier, START) is None


def test_one_user_has_so_many_sessions_and_no_more() -> None:
    sessions = Sessions()
    first, _ = sessions.open("ann", START)
    other, _ = sessions.open("bob", START)
    for _ in range(MOST_OF_ONE_USER):
        sessions.open("ann", START)
    assert sessions.find(first, START) is None
    assert sessions.find(other, START)
    assert len(sessions._sessions) == MOST_OF_ONE_USER + 1


def test_ended_sessions_leave_memory() -> None:
    sessions = Sessions()
    sessions.open("ann", START)
    sessions.open("bob", START + LONGEST + timedelta(seconds=1))
    assert len(sessions._sessions) == 1
