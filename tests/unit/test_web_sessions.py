"""Sessions end when they are idle, old, logged out, or too many; a server that starts anew goes on with them."""

from datetime import timedelta

import pytest

from certferry.cluster.database import DatabaseError
from certferry.cluster.web_sessions import WebSessions
from certferry.web.sessions import FRESH, IDLE, LONGEST, MOST_OF_ONE_USER, NOTED, Sessions
from conftest import MakeCluster
from web_site import START


@pytest.fixture
def ledger(make_cluster: MakeCluster) -> WebSessions:
    return make_cluster(nodes=1).web_sessions


@pytest.fixture
def sessions(ledger: WebSessions) -> Sessions:
    return Sessions(ledger)


def test_a_session_is_found_by_its_id_alone(sessions: Sessions) -> None:
    identifier, session = sessions.open("ann", START)
    assert sessions.find(identifier, START) == session
    assert sessions.find(identifier[:-1], START) is None
    assert sessions.find(None, START) is None


def test_ids_and_csrf_tokens_never_repeat(sessions: Sessions) -> None:
    opened = [sessions.open("ann", START) for _ in range(10)]
    assert len({text for identifier, session in opened for text in (identifier, session.csrf)}) == 20


def test_nobody_takes_a_session_over_with_what_the_database_holds(sessions: Sessions, ledger: WebSessions) -> None:
    identifier, session = sessions.open("ann", START)
    kept = ledger.find(session.key)
    assert kept == session
    assert identifier not in repr(kept)
    assert sessions.find(session.key, START) is None


def test_a_session_ends_when_it_was_idle_too_long(sessions: Sessions) -> None:
    identifier, _ = sessions.open("ann", START)
    assert sessions.find(identifier, START + IDLE) is None


def test_use_keeps_a_session_alive(sessions: Sessions) -> None:
    identifier, _ = sessions.open("ann", START)
    assert sessions.find(identifier, START + IDLE / 2)
    assert sessions.find(identifier, START + IDLE * 1.4)


def test_a_session_ends_when_it_is_old_however_much_it_is_used(sessions: Sessions) -> None:
    identifier, _ = sessions.open("ann", START)
    now = START
    while now < START + LONGEST - IDLE / 2:
        assert sessions.find(identifier, now)
        now += IDLE / 2
    assert sessions.find(identifier, START + LONGEST) is None


def test_a_closed_session_is_gone(sessions: Sessions) -> None:
    identifier, _ = sessions.open("ann", START)
    sessions.close(identifier)
    sessions.close(None)
    assert sessions.find(identifier, START) is None


def test_one_user_has_so_many_sessions_and_no_more(sessions: Sessions, ledger: WebSessions) -> None:
    first, _ = sessions.open("ann", START)
    other, _ = sessions.open("bob", START)
    for second in range(MOST_OF_ONE_USER):
        latest, _ = sessions.open("ann", START + timedelta(seconds=second + 1))
    assert sessions.find(first, START) is None
    assert sessions.find(other, START)
    assert sessions.find(latest, START)
    assert ledger.count() == MOST_OF_ONE_USER + 1


def test_ended_sessions_are_forgotten(sessions: Sessions, ledger: WebSessions) -> None:
    sessions.open("ann", START)
    sessions.open("bob", START + LONGEST + timedelta(seconds=1))
    assert ledger.count() == 1


# --- a server that starts anew, and a second one


def test_a_restart_logs_nobody_out_and_keeps_both_ends(sessions: Sessions, ledger: WebSessions) -> None:
    identifier, session = sessions.open("ann", START)
    assert Sessions(ledger).find(identifier, START + timedelta(minutes=5)) is not None
    found = Sessions(ledger).find(identifier, START + timedelta(minutes=6))
    assert found is not None
    assert (found.csrf, found.begun) == (session.csrf, START)
    assert Sessions(ledger).find(identifier, START + IDLE + timedelta(minutes=6)) is None
    assert Sessions(ledger).find(identifier, START + LONGEST) is None


def test_a_logout_at_one_server_is_known_at_the_other_in_seconds(sessions: Sessions, ledger: WebSessions) -> None:
    other = Sessions(ledger)
    identifier, _ = sessions.open("ann", START)
    assert other.find(identifier, START)
    sessions.close(identifier)
    assert other.find(identifier, START + FRESH) is None


def test_a_page_costs_no_read_within_seconds_and_no_write_within_a_minute(
    sessions: Sessions, ledger: WebSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("find", "touch"):
        done = getattr(WebSessions, name)

        def counted(*words: object, name: str = name, done: object = done) -> object:
            asked.append(name)
            return done(*words)  # type: ignore[operator]

        monkeypatch.setattr(WebSessions, name, counted)
    identifier, session = sessions.open("ann", START)
    for _ in range(10):
        sessions.find(identifier, START)
    assert asked == ["find"]
    sessions.find(identifier, START + FRESH)
    assert asked == ["find", "find"]
    sessions.find(identifier, START + NOTED)
    assert asked == ["find", "find", "find", "touch"]
    kept = ledger.find(session.key)
    assert kept is not None
    assert kept.seen == START + NOTED


def test_use_that_cannot_be_written_down_keeps_nobody_out(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_words: object) -> None:
        raise DatabaseError("the disk is full")

    identifier, _ = sessions.open("ann", START)
    monkeypatch.setattr(WebSessions, "touch", refuse)
    assert sessions.find(identifier, START + NOTED)
