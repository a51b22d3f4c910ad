"""Users and tokens: kept as hashes, checked, taken back; each change in the audit log."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certferry.cli.output import Output
from certferry.cluster.accounts import Role, TokenUnknownError, UserUnknownError
from certferry.cluster.acting import acting_as, actor
from certferry.cluster.cluster import Cluster
from certferry.web.passwords import (
    LONGEST,
    Passwords,
    PasswordWeakError,
    UserNameError,
    check_token,
    make_token,
)
from command_line import certferry
from conftest import MakeCluster
from web_site import CHEAP, PASSWORD, START


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=1)


@pytest.fixture
def passwords(cluster: Cluster) -> Passwords:
    made = Passwords(cluster.accounts, CHEAP)
    made.put_user("ann", Role.OPERATOR, PASSWORD)
    return made


def last_line(cluster: Cluster) -> dict[str, Any]:
    line = json.loads(cluster.audit_lines()[-1])
    assert isinstance(line, dict)
    return line


def test_only_the_right_password_holds(passwords: Passwords) -> None:
    assert passwords.holds("ann", PASSWORD)
    assert not passwords.holds("ann", PASSWORD + "x")
    assert not passwords.holds("nobody", PASSWORD)


def test_a_password_is_kept_as_an_argon2id_hash_alone(cluster: Cluster, passwords: Passwords) -> None:
    (account,) = cluster.accounts.users()
    assert account.password_hash.startswith("$argon2id$")
    assert PASSWORD.encode() not in cluster.location.database.read_bytes()
    assert account.password_hash not in repr(account)


def test_a_damaged_hash_lets_nobody_in(cluster: Cluster, passwords: Passwords) -> None:
    cluster.accounts.put_user("ann", Role.OPERATOR, "no hash")
    assert not passwords.holds("ann", PASSWORD)


@pytest.mark.parametrize("password", ["", "short", "x" * (LONGEST + 1)])
def test_a_password_that_is_too_short_or_endless_is_refused(passwords: Passwords, password: str) -> None:
    with pytest.raises(PasswordWeakError) as refused:
        passwords.put_user("bob", Role.OPERATOR, password)
    assert password[:6] not in str(refused.value) or not password


@pytest.mark.parametrize("name", ["", " ann", "a\nb", "x" * 65])
def test_a_name_that_would_disfigure_the_log_is_refused(passwords: Passwords, name: str) -> None:
    with pytest.raises(UserNameError):
        passwords.put_user(name, Role.OPERATOR, PASSWORD)


def test_a_known_user_gets_another_password_and_role(cluster: Cluster, passwords: Passwords) -> None:
    passwords.put_user("ann", Role.READ_ONLY, "another-password")
    assert not passwords.holds("ann", PASSWORD)
    assert [(each.name, each.role) for each in cluster.accounts.users()] == [("ann", Role.READ_ONLY)]


def test_a_removed_user_is_gone_and_cannot_be_removed_again(cluster: Cluster, passwords: Passwords) -> None:
    cluster.accounts.remove_user("ann")
    assert not passwords.holds("ann", PASSWORD)
    with pytest.raises(UserUnknownError):
        cluster.accounts.remove_user("ann")


def test_changes_of_users_stand_in_the_audit_log_without_secrets(cluster: Cluster, passwords: Passwords) -> None:
    line = last_line(cluster)
    assert (line["action"], line["user"], line["role"]) == ("put-user", "ann", "operator")
    assert "argon2" not in json.dumps(line)
    cluster.verify_audit()


# --- tokens


def test_a_token_is_known_by_its_text_alone(cluster: Cluster) -> None:
    token, text = make_token("ci", Role.READ_ONLY, "ann", START, None)
    cluster.accounts.put_token(token)
    assert check_token(cluster.accounts, text, START) == token
    assert re.fullmatch(r"certferry_[0-9a-f]{8}_[\w-]{43}", text)
    for wrong in (text[:-1], text + "x", text.replace(token.id, "00000000"), token.id, "", "a_b_c", "certferry__"):
        assert check_token(cluster.accounts, wrong, START) is None
    assert text.split("_", 2)[2].encode() not in cluster.location.database.read_bytes()


def test_a_token_ends_when_it_was_said_to(cluster: Cluster) -> None:
    token, text = make_token("ci", Role.READ_ONLY, "ann", START, timedelta(days=1))
    cluster.accounts.put_token(token)
    assert check_token(cluster.accounts, text, START + timedelta(hours=23))
    assert check_token(cluster.accounts, text, START + timedelta(days=1)) is None


def test_a_token_taken_back_is_gone(cluster: Cluster) -> None:
    token, text = make_token("ci", Role.OPERATOR, "ann", START, None)
    cluster.accounts.put_token(token)
    cluster.accounts.remove_token(token.id)
    assert check_token(cluster.accounts, text, START) is None
    assert last_line(cluster)["action"] == "remove-token"
    with pytest.raises(TokenUnknownError):
        cluster.accounts.remove_token(token.id)


# --- who acts


def test_the_audit_log_and_the_history_name_who_acts(cluster: Cluster) -> None:
    with acting_as("ann"):
        cluster.change_trust([], action="nothing")
        cluster.set_parameter("rollback-to-pre-8.0", "true")
    assert last_line(cluster)["actor"] == "ann"
    assert cluster.history()[-1].actor == "ann"
    assert actor() != "ann"


# --- the command line


@pytest.fixture
def web(cluster: Cluster) -> Callable[..., Any]:
    return lambda *words: certferry("--cluster", cluster.location.folder, "web", *words)


def test_a_user_is_added_listed_and_removed(cluster: Cluster, web: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    added = web("user", "add", "eve", "--role", "operator", "--password-file", file, "--json")
    assert added.json == {"user": "eve", "role": "operator"}
    assert Passwords(cluster.accounts).holds("eve", PASSWORD)
    assert [each["user"] for each in web("user", "list", "--json").json["users"]] == ["eve"]
    assert web("user", "remove", "eve", "--yes").code == 0
    assert cluster.accounts.users() == ()


def test_removing_a_user_asks_only_about_one_that_is_there(
    cluster: Cluster, web: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Output, "can_ask", property(lambda _: True))
    monkeypatch.setattr("typer.confirm", lambda question, **_: asked.append(question))
    assert web("user", "remove", "nobody", "--json").error["code"] == "web.user-unknown"
    assert asked == []
    Passwords(cluster.accounts, CHEAP).put_user("eve", Role.OPERATOR, PASSWORD)
    assert web("user", "remove", "eve", "--json").error["code"] == "cli.declined"
    assert asked == [f"Remove operator eve of {cluster.name}, with 0 API tokens?"]


def test_the_cluster_may_be_named_before_the_noun(cluster: Cluster) -> None:
    place = cluster.location.folder
    assert certferry("web", "--cluster", place, "--json", "user", "list").json == {"users": []}


def test_no_password_is_ever_made_up(web: Callable[..., Any]) -> None:
    refused = web("user", "add", "eve", "--json")
    assert (refused.code, refused.error["code"]) == (2, "cli.password-missing")


def test_pages_without_tls_are_for_this_machine_alone(web: Callable[..., Any]) -> None:
    refused = web("--insecure-http", "--host", "192.0.2.1", "--json")
    assert (refused.code, refused.error["code"]) == (2, "web.plain-http")


def test_an_address_that_is_not_here_cannot_be_listened_on(web: Callable[..., Any]) -> None:
    assert web("--host", "192.0.2.1", "--json").error["code"] == "web.listen"


def test_two_clusters_of_one_name_cannot_be_told_apart(cluster: Cluster, web: Callable[..., Any]) -> None:
    assert web("--other-cluster", cluster.location.folder, "--json").error["code"] == "web.cluster-twice"
