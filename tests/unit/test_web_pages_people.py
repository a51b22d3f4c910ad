"""Logging in, users and parameters: messages beside the field, nothing typed is lost, nothing happens twice."""

import pytest

from certferry.cluster.accounts import LastOperatorError, Role
from certferry.web.pages.login import own_path
from certferry.web.sessions import IDLE
from conftest import MakeCluster
from web_pages import Reader, read, reading
from web_site import PASSWORD, Site


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    return Site(make_cluster(nodes=1))


# --- login


async def test_a_wrong_password_is_told_beside_its_field_and_the_name_stays(site: Site) -> None:
    async with site.visitor() as client:
        reader = Reader(client)
        drawn = await reader.send(await reader.open("/login"), "/login", name="ann", password="wrong")
    assert drawn.status == 422
    assert "do not belong together" in drawn.error_beside("password")
    assert drawn.form("/login").values["name"] == "ann"
    assert "wrong" not in drawn.answer.text.replace('class="field wrong"', "")


async def test_empty_fields_are_told_one_by_one(site: Site) -> None:
    async with site.visitor() as client:
        reader = Reader(client)
        drawn = await reader.send(await reader.open("/login"), "/login", name="", password="")
    assert drawn.error_beside("name") == drawn.error_beside("password") == "✗ Fill in this field."


async def test_too_many_logins_are_told_with_the_time_to_wait(site: Site) -> None:
    async with site.visitor() as client:
        reader = Reader(client)
        drawn = await reader.open("/login")
        for _ in range(6):
            drawn = await reader.send(drawn, "/login", name="ann", password="wrong")
    assert "seconds" in drawn.error_beside("password")


async def test_who_asks_for_a_page_without_a_session_comes_back_to_it_after_the_login(site: Site) -> None:
    async with site.visitor() as client:
        reader = Reader(client)
        login = await reader.open("/show/audit")
        assert login.path == "/login"
        assert (await reader.send(login, "/login", name="ann", password=PASSWORD)).path == "/show/audit"


async def test_a_session_that_ended_before_a_form_was_sent_leads_back_to_the_form(site: Site) -> None:
    async with reading(site) as reader:
        drawn = await reader.open("/settings/parameters")
        site.clock.pass_by(seconds=IDLE.total_seconds() + 1)
        login = await reader.send(drawn, "/settings/parameters", **{"security-mode": "mixed"})
        assert login.path == "/login"
        assert (await reader.send(login, "/login", name="ann", password=PASSWORD)).path == "/settings/parameters"
    assert site.cluster.security_mode == "non-secure"


async def test_a_server_that_starts_anew_asks_nobody_to_log_in_and_takes_the_form_drawn_before(site: Site) -> None:
    async with reading(site) as reader:
        drawn = await reader.open("/settings/parameters")
        site.restart()
        async with site.visitor() as client:
            client.cookies.update(reader.client.cookies)
            after = await Reader(client).send(drawn, "/settings/parameters", **{"security-mode": "mixed"})
    assert (after.status, after.path) == (200, "/settings/parameters")
    assert site.cluster.security_mode == "mixed"


async def test_who_got_a_new_password_meanwhile_logs_in_again_where_they_were(site: Site) -> None:
    async with reading(site) as reader:
        site.context.passwords.put_user("ann", Role.OPERATOR, "another-password")
        login = await reader.open("/show/audit")
        assert login.path == "/login"
        assert (await reader.send(login, "/login", name="ann", password="another-password")).path == "/show/audit"


@pytest.mark.parametrize("text", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/login", "/logout"])
def test_the_login_leads_nowhere_else(text: str) -> None:
    assert own_path(text) == "/show/cluster"


async def test_logging_out_ends_the_session(site: Site) -> None:
    async with reading(site) as reader:
        drawn = await reader.open("/show/cluster")
        assert (await reader.send(drawn, "/logout")).path == "/login"
        assert (await reader.open("/show/cluster")).path == "/login"


async def test_a_form_without_the_sessions_token_changes_nothing(site: Site) -> None:
    async with reading(site) as reader:
        answer = await reader.client.post("/settings/parameters", data={"security-mode": "mixed"})
    assert answer.status_code == 403
    assert "web.csrf" in read(answer).text
    assert site.cluster.security_mode == "non-secure"


# --- enterprise parameters


async def test_a_parameter_is_changed_and_what_was_rebuilt_is_told(site: Site) -> None:
    async with reading(site) as reader:
        drawn = await reader.open("/settings/parameters")
        after = await reader.send(drawn, "/settings/parameters", **{"security-mode": "mixed"})
    assert site.cluster.security_mode == "mixed"
    assert "Update successful: 1 parameters." in after.text
    assert "CTL" in after.text


async def test_a_value_that_cannot_be_is_told_beside_it_and_no_other_is_set(site: Site) -> None:
    async with reading(site) as reader:
        drawn = await reader.open("/settings/parameters")
        typed = {"tvs-cache-seconds": "soon", "security-mode": "mixed"}
        after = await reader.send(drawn, "/settings/parameters", **typed)
    assert after.status == 422
    assert "soon" in after.error_beside("tvs-cache-seconds")
    values = after.form("/settings/parameters").values
    assert (values["tvs-cache-seconds"], values["security-mode"]) == ("soon", "mixed")
    assert site.cluster.security_mode == "non-secure"


async def test_sending_the_same_parameters_again_is_no_second_change(site: Site) -> None:
    async with reading(site) as reader:
        drawn = await reader.open("/settings/parameters")
        for _ in range(3):
            await reader.send(drawn, "/settings/parameters", **{"tvs-cache-seconds": "60"})
    changes = [line for line in site.cluster.audit_lines() if '"set-parameter"' in line]
    assert len(changes) == 1
    assert '"actor": "ann"' in changes[0]


async def test_a_user_who_may_only_look_sees_parameters_and_cannot_save(site: Site) -> None:
    async with reading(site, "bob") as reader:
        drawn = await reader.open("/settings/parameters")
        assert ("button", {"type": "submit"}) not in drawn.tags
        after = await reader.send(drawn, "/settings/parameters", **{"security-mode": "mixed"})
    assert after.status == 403
    assert "bob may look, not change" in after.text
    assert site.cluster.security_mode == "non-secure"


# --- users


async def test_a_user_is_added_and_can_log_in(site: Site) -> None:
    async with reading(site) as reader:
        drawn = await reader.open("/settings/users")
        after = await reader.send(drawn, "/settings/users", name="cleo", password="a-long-password", role="operator")
        assert "User cleo saved." in after.text
    cleo = site.cluster.accounts.find_user("cleo")
    assert cleo is not None
    assert cleo.role is Role.OPERATOR


@pytest.mark.parametrize(
    ("typed", "field", "told"),
    [
        ({"name": "cleo", "password": "short"}, "password", "5 characters"),
        ({"name": "", "password": "a-long-password"}, "name", "not a user name"),
        ({"name": "x" * 65, "password": "a-long-password"}, "name", "not a user name"),
        ({"name": "cleo", "password": "a-long-password", "role": "king"}, "role", "Choose one"),
        ({"name": "ann", "password": "a-long-password", "role": "read-only"}, "role", "last operator"),
    ],
)
async def test_what_is_wrong_with_a_user_is_told_beside_the_field(
    site: Site, typed: dict[str, str], field: str, told: str
) -> None:
    async with reading(site) as reader:
        after = await reader.send(await reader.open("/settings/users"), "/settings/users", **typed)
    assert after.status == 422
    assert told in after.error_beside(field)
    assert after.form("/settings/users").values["name"] == typed["name"]
    assert typed["password"] not in after.answer.text


async def test_a_user_is_removed_after_a_question_but_not_the_last_operator(site: Site) -> None:
    async with reading(site) as reader:
        asked = await reader.open("/settings/users/bob/delete")
        after = await reader.send(asked, "/settings/users/bob/delete")
        assert "User bob removed." in after.text
        assert "last operator" in (await reader.open("/settings/users/ann/delete")).text
        assert (await reader.open("/settings/users/nobody/delete")).status == 404
    assert [user.name for user in site.cluster.accounts.users()] == ["ann"]


async def test_a_user_whose_name_has_a_slash_can_be_removed(site: Site) -> None:
    site.context.passwords.put_user("voice/cleo", Role.OPERATOR, "a-long-password")
    async with reading(site) as reader:
        drawn = await reader.open("/settings/users")
        link = next(link for link in drawn.links if "cleo" in link)
        asked = await reader.open(link)
        assert "User voice/cleo removed." in (await reader.send(asked, asked.forms[-1].action)).text


async def test_of_two_operators_who_remove_each_other_one_stays(site: Site) -> None:
    site.context.passwords.put_user("cleo", Role.OPERATOR, PASSWORD)
    async with reading(site) as ann, reading(site, "cleo") as cleo:
        asked, asked_too = await ann.open("/settings/users/cleo/delete"), await cleo.open("/settings/users/ann/delete")
        await ann.send(asked, "/settings/users/cleo/delete")
        await cleo.send(asked_too, "/settings/users/ann/delete")
    assert [user.name for user in site.cluster.accounts.users()] == ["ann", "bob"]
    with pytest.raises(LastOperatorError):
        site.cluster.accounts.remove_user("ann", keep_operator=True)


# --- what FastAPI and Starlette find wrong


@pytest.mark.parametrize(
    "path",
    ["/security/bulk/explode", "/security/certificate/regenerate/NONSENSE/pub", "/security/trust-lists/XTL/pub"],
)
async def test_an_address_that_names_nothing_is_no_page_in_the_readers_language(site: Site, path: str) -> None:
    async with reading(site, language="ja") as ann:
        drawn = await ann.open(path)
    assert drawn.status == 404
    assert "web.no-such-page" in drawn.text
    assert "Input should be" not in drawn.text


async def test_who_is_lost_gets_the_menu_if_logged_in_and_nobody_else_does(site: Site) -> None:
    async with reading(site) as ann, site.visitor() as client:
        assert "/security/certificates" in (await ann.open("/nowhere")).links
        stranger = await Reader(client).open("/nowhere")
    assert stranger.status == 404
    assert "/security/certificates" not in stranger.links


async def test_a_form_that_cannot_be_read_is_told_in_the_readers_language_with_the_details_as_they_are(
    site: Site,
) -> None:
    async with reading(site, language="ja") as ann:
        headers = {"content-type": "multipart/form-data"}
        drawn = read(await ann.client.post("/settings/parameters", content=b"x", headers=headers))
    assert drawn.status in (400, 422)
    assert "入力内容に誤りがあります: Missing boundary in multipart." in drawn.text
