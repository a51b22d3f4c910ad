"""Who may ask for what: sessions, CSRF, roles, tokens, rate limits, headers; asked of every route there is."""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from certferry.cluster.accounts import Role
from certferry.web import throttle
from certferry.web.app import create_app
from certferry.web.context import WebContext
from certferry.web.sessions import IDLE
from conftest import MakeCluster
from web_site import PASSWORD, Site, error_of

SESSION = "/api/v1/session"
OPEN = {SESSION}
LOOKS = {"/migration/verify", "/api/v1/verify", "/api/v1/rehearse"}
"""They change nothing anywhere; from who may only look they take clusters alone that the server was told to show."""
PARAMETER = "/api/v1/parameters/rollback-to-pre-8.0"
FILLED = {
    "{sha256}": "0" * 64,
    "{purpose}": "tomcat",
    "{store}": "tomcat-trust",
    "{kind}": "ITL",
    "{key}": "security-mode",
}


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    return Site(make_cluster(nodes=1))


def routes(site: Site) -> Iterator[tuple[str, str]]:
    """Every method and address of the API, as its own description tells them."""
    paths = site.app.openapi()["paths"]
    assert len(paths) > 40, "a test over all of them would hold nothing"
    for path, methods in paths.items():
        address = path
        for name, value in FILLED.items():
            address = address.replace(name, value)
        for method in methods:
            yield method.upper(), re.sub(r"\{\w+\}", "none", address)


async def ask(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    return await client.request(method, path, json=None if method == "GET" else {})


# --- every route


async def test_nobody_gets_anything_without_logging_in(site: Site) -> None:
    async with site.visitor() as stranger:
        for method, path in routes(site):
            answer = await ask(stranger, method, path)
            if path not in OPEN or method == "GET":
                assert (method, path, answer.status_code) == (method, path, 401)
                assert error_of(answer)["code"] == "web.not-logged-in"
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_who_may_look_is_refused_every_change(site: Site) -> None:
    before = site.cluster.version()
    async with site.logged_in("bob") as bob:
        for method, path in routes(site):
            if method != "GET" and path not in OPEN | LOOKS:
                answer = await ask(bob, method, path)
                assert (method, path, answer.status_code, error_of(answer)["code"]) == (
                    method, path, 403, "web.read-only",
                )  # fmt: skip
    assert site.cluster.version() == before


@pytest.mark.parametrize("look", ["verify", "rehearse"])
async def test_who_may_look_verifies_the_clusters_shown_and_lets_the_server_dial_nobody_else(
    make_cluster: MakeCluster, look: str
) -> None:
    site = Site(make_cluster(nodes=1), {"destination": make_cluster("destination", nodes=1)})
    names = {"source": ["source"], "destination": ["destination"]}
    async with site.logged_in("bob") as bob:
        assert (await bob.post(f"/api/v1/{look}", json=names)).status_code == 202
        for side in names:
            answer = await bob.post(f"/api/v1/{look}", json=names | {side: ["127.0.0.1:9"]})
            assert (answer.status_code, error_of(answer)["code"]) == (403, "web.read-only")
    await site.ended()


async def test_who_may_look_sees_everything_but_the_tokens_and_what_is_in_kea(site: Site) -> None:
    async with site.logged_in("bob") as bob:
        for method, path in routes(site):
            if method == "GET" and not path.endswith(("tokens", "option150")):
                assert (path, (await ask(bob, method, path)).status_code) not in ((path, 401), (path, 403))
        assert (await bob.get("/api/v1/tokens")).status_code == 403


async def test_no_change_is_taken_without_the_sessions_token(site: Site) -> None:
    async with site.logged_in() as ann:
        del ann.headers["x-csrf-token"]
        for method, path in routes(site):
            if method != "GET" and (path, method) != (SESSION, "POST"):
                answer = await ask(ann, method, path)
                assert (method, path, answer.status_code, error_of(answer)["code"]) == (method, path, 403, "web.csrf")


async def test_every_answer_keeps_browsers_strict(site: Site) -> None:
    async with site.visitor() as stranger, site.logged_in() as ann:
        paths = ["/livez", "/readyz", "/metrics", "/nothing", "/api/v1/openapi.json", "/api/v1/nothing"]
        answers = [await ask(stranger, "GET", path) for path in paths]
        answers += [await ask(client, *route) for client in (stranger, ann) for route in routes(site)]
    for answer in answers:
        headers = answer.headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["strict-transport-security"] == "max-age=31536000"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


async def test_a_defect_is_one_sentence_with_the_same_headers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(site.cluster), "served", lambda _self: 1 / 0)
    async with site.logged_in() as ann:
        answer = await ann.get("/api/v1/served")
    assert (answer.status_code, error_of(answer)["code"]) == (500, "web.unforeseen")
    assert "content-security-policy" in answer.headers
    assert "Traceback" not in answer.text


# --- every page


def pages() -> list[tuple[str, str]]:
    """Every method and address of the pages; they are in no description, so one is made here."""
    app = FastAPI()
    app.include_router(import_module("certferry.web.pages").router)
    found = [
        (method.upper(), re.sub(r"\{\w+\}", "none", path))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    ]
    assert len(found) > 20
    return found


DOORS = {"/", "/login", "/logout", "/language"}
EVERY_PAGE = [page for page in pages() if page[1] not in DOORS]


async def test_a_stranger_is_led_to_the_login_from_every_page(site: Site) -> None:
    async with site.visitor() as stranger:
        for method, path in EVERY_PAGE:
            answer = await stranger.request(method, path)
            assert (path, answer.status_code) == (path, 303)
            assert answer.headers["location"].startswith("/login")
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_who_may_look_changes_nothing_by_any_page(make_cluster: MakeCluster) -> None:
    site = Site(make_cluster(nodes=1), {"destination": make_cluster("destination", nodes=1)})
    before = site.cluster.version()
    async with site.logged_in("bob") as bob:
        for method, path in EVERY_PAGE:
            answer = await bob.request(method, path, data={"csrf_token": bob.headers["x-csrf-token"]})
            assert method == "GET" or path in LOOKS or (path, answer.status_code) == (path, 403)
            assert (path, answer.status_code < 500) == (path, True)
    assert site.cluster.version() == before
    await site.ended()


async def test_no_page_takes_a_change_that_no_page_of_this_server_asked_for(site: Site) -> None:
    async with site.logged_in() as ann:
        del ann.headers["x-csrf-token"]
        for method, path in EVERY_PAGE:
            if method != "GET":
                answer = await ann.request(method, path, data={"csrf_token": "guessed"})
                assert (path, answer.status_code) == (path, 403)


# --- sessions


async def test_the_cookie_is_for_this_host_over_tls_and_not_for_scripts(site: Site) -> None:
    async with site.visitor() as stranger:
        answer = await stranger.post(SESSION, json={"name": "ann", "password": PASSWORD})
    (cookie,) = answer.headers.get_list("set-cookie")
    name, _, rest = cookie.partition("=")
    assert name == "__Host-certferry"
    assert {part.strip().lower() for part in rest.split(";")[1:]} == {"httponly", "secure", "samesite=strict", "path=/"}


async def test_a_session_tells_who_is_logged_in(site: Site) -> None:
    async with site.logged_in("bob") as bob:
        told = (await bob.get(SESSION)).json()
        assert told == {"name": "bob", "role": "read-only", "csrf_token": bob.headers["x-csrf-token"]}


async def test_who_logs_out_is_out_also_with_the_old_cookie(site: Site) -> None:
    async with site.logged_in() as ann:
        cookies = dict(ann.cookies)
        assert (await ann.delete(SESSION)).status_code == 204
        ann.cookies.update(cookies)
        assert (await ann.get(SESSION)).status_code == 401


async def test_an_idle_session_is_over(site: Site) -> None:
    async with site.logged_in() as ann:
        site.clock.now += IDLE
        assert (await ann.get(SESSION)).status_code == 401


async def test_logging_in_again_ends_the_session_before(site: Site) -> None:
    async with site.logged_in() as ann:
        before = dict(ann.cookies)
        await ann.post(SESSION, json={"name": "ann", "password": PASSWORD})
        async with site.visitor() as thief:
            thief.cookies.update(before)
            assert (await thief.get(SESSION)).status_code == 401


async def test_a_removed_user_is_out_at_once_and_a_lowered_one_looks_only(site: Site) -> None:
    async with site.logged_in() as ann:
        account = site.cluster.accounts.find_user("ann")
        assert account
        site.cluster.accounts.put_user("ann", Role.READ_ONLY, account.password_hash)
        assert (await ann.put(PARAMETER, json={"value": "true"})).status_code == 403
        site.cluster.accounts.remove_user("ann")
        assert (await ann.get(SESSION)).status_code == 401


async def test_a_new_password_ends_the_sessions_of_the_old_one(site: Site) -> None:
    async with site.logged_in() as ann:
        site.context.passwords.put_user("ann", Role.OPERATOR, "another-password")
        assert (await ann.get(SESSION)).status_code == 401


# --- CSRF


@pytest.mark.parametrize(
    "headers",
    [
        {"x-csrf-token": ""},
        {"x-csrf-token": "guessed"},
        {"x-csrf-token": "\xe9"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://["},
        {"sec-fetch-site": "cross-site"},
    ],
)
async def test_what_a_strange_page_can_make_a_browser_send_is_refused(site: Site, headers: dict[str, str]) -> None:
    async with site.logged_in() as ann:
        sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        answer = await ann.put(PARAMETER, json={"value": "true"}, headers=sent)
        assert error_of(answer)["code"] == "web.csrf"
        assert site.cluster.parameters()["rollback-to-pre-8.0"] == "false"


async def test_a_page_of_this_server_is_believed(site: Site) -> None:
    async with site.logged_in() as ann:
        answer = await ann.put(PARAMETER, json={"value": "true"}, headers={"origin": "https://pub"})
        assert answer.status_code == 200


async def test_a_strange_page_cannot_log_anybody_in(site: Site) -> None:
    async with site.visitor(origin="https://evil.example") as stranger:
        answer = await stranger.post(SESSION, json={"name": "ann", "password": PASSWORD})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_a_stranger_whose_origin_is_nonsense_is_no_defect_of_the_server(site: Site) -> None:
    async with site.visitor(origin="http://[") as stranger:
        api = await stranger.post(SESSION, json={"name": "ann", "password": PASSWORD})
        page = await stranger.post("/login", data={"name": "ann", "password": PASSWORD})
    assert (api.status_code, page.status_code) == (403, 403)


async def test_what_a_stranger_was_looking_for_is_there_after_the_login(site: Site) -> None:
    async with site.visitor() as stranger:
        answer = await stranger.get("/security/certificates?text=capf")
    assert answer.headers["location"] == "/login?next=%2Fsecurity%2Fcertificates%3Ftext%3Dcapf"


# --- logins


async def test_password_and_name_are_refused_in_the_same_words(site: Site) -> None:
    async with site.visitor() as stranger:
        answers = [await stranger.post(SESSION, json={"name": name, "password": "wrong"}) for name in ("ann", "nobody")]
    assert answers[0].json() == answers[1].json()
    assert {answer.status_code for answer in answers} == {401}


async def test_a_stranger_elsewhere_does_not_lock_a_user_out_at_once(site: Site) -> None:
    transport = httpx.ASGITransport(site.app, client=("192.0.2.66", 1))
    async with httpx.AsyncClient(transport=transport, base_url="https://pub") as stranger:
        for _ in range(6):
            answer = await stranger.post(SESSION, json={"name": "ann", "password": "wrong"})
        assert answer.status_code == 429
    async with site.logged_in("ann") as ann:
        assert (await ann.get(SESSION)).status_code == 200


async def test_a_user_is_not_guessed_at_for_long_from_many_addresses(site: Site) -> None:
    codes = []
    for number in range(61):
        transport = httpx.ASGITransport(site.app, client=(f"192.0.2.{number}", 1))
        async with httpx.AsyncClient(transport=transport, base_url="https://pub") as stranger:
            codes.append((await stranger.post(SESSION, json={"name": "ann", "password": "wrong"})).status_code)
    assert codes == [401] * 60 + [429]


async def test_a_user_is_not_guessed_at_for_long(site: Site) -> None:
    async with site.visitor() as stranger:
        for _ in range(5):
            await stranger.post(SESSION, json={"name": "ann", "password": "wrong"})
        answer = await stranger.post(SESSION, json={"name": "ann", "password": PASSWORD})
        assert (answer.status_code, error_of(answer)["code"]) == (429, "web.too-many-logins")
        assert answer.headers["retry-after"] == "300"
        site.clock.pass_by(seconds=300)
        assert (await stranger.post(SESSION, json={"name": "ann", "password": PASSWORD})).status_code == 200


async def test_an_address_does_not_try_name_after_name(site: Site) -> None:
    async with site.visitor() as stranger:
        codes = [
            (await stranger.post(SESSION, json={"name": f"user{n}", "password": "wrong"})).status_code
            for n in range(31)
        ]
    assert codes == [401] * 30 + [429]


async def test_logins_stand_in_the_audit_log_without_passwords(site: Site) -> None:
    async with site.visitor() as stranger:
        await stranger.post(SESSION, json={"name": "ann", "password": "wrong-password"})
        await stranger.post(SESSION, json={"name": "ann", "password": PASSWORD})
    refused, taken = site.cluster.audit_lines()[-2:]
    assert '"action": "login-refused"' in refused
    assert '"action": "login"' in taken
    assert not any(word in "".join(site.cluster.audit_lines()) for word in ("wrong-password", PASSWORD))
    site.cluster.verify_audit()


async def test_a_flood_of_wrong_logins_does_not_fill_the_audit_log(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST_LINES", 3)
    async with site.visitor() as stranger:
        for number in range(8):
            await stranger.post(SESSION, json={"name": f"user{number}", "password": "wrong"})
        site.clock.pass_by(minutes=5)
        await stranger.post(SESSION, json={"name": "late", "password": "wrong"})
    refused = [line for line in site.cluster.audit_lines() if '"login-refused"' in line]
    assert len(refused) == 3 + 1
    assert '"left_out": 5' in refused[-1]
    assert "left_out" not in "".join(refused[:-1])


@pytest.mark.parametrize("body", [{}, {"name": "ann"}, {"name": "ann", "password": 5}, {"name": "", "password": "x"}])
async def test_a_login_that_is_none_names_the_field_and_never_the_password(site: Site, body: Any) -> None:
    async with site.visitor() as stranger:
        answer = await stranger.post(SESSION, json=body)
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (422, "web.input")
    assert set(error["fields"]) <= {"name", "password"}
    assert error["fields"]


# --- tokens


async def test_a_token_needs_no_csrf_and_acts_in_its_makers_name(site: Site) -> None:
    async with site.with_token() as program:
        assert (await program.put(PARAMETER, json={"value": "true"})).status_code == 200
        told = (await program.get(SESSION)).json()
    assert told == {"name": "ann (token test)", "role": "operator", "csrf_token": None}
    assert '"actor": "ann (token test)"' in site.cluster.audit_lines()[-1]


async def test_a_token_that_may_look_changes_nothing(site: Site) -> None:
    async with site.with_token(Role.READ_ONLY) as program:
        assert (await program.get("/api/v1/cluster")).status_code == 200
        assert (await program.put(PARAMETER, json={"value": "true"})).status_code == 403


async def test_a_token_may_no_more_than_its_maker_and_ends_with_them(site: Site) -> None:
    async with site.with_token() as program:
        account = site.cluster.accounts.find_user("ann")
        assert account
        site.cluster.accounts.put_user("ann", Role.READ_ONLY, account.password_hash)
        assert (await program.get(SESSION)).json()["role"] == "read-only"
        site.cluster.accounts.remove_user("ann")
        assert (await program.get(SESSION)).status_code == 401
        site.cluster.accounts.put_user("ann", Role.OPERATOR, account.password_hash)
        assert (await program.get(SESSION)).status_code == 401


async def test_a_token_made_with_a_token_has_the_same_maker(site: Site) -> None:
    async with site.with_token() as program:
        assert (await program.post("/api/v1/tokens", json={"name": "second"})).json()["created_by"] == "ann"


@pytest.mark.parametrize("text", ["", "x", "certferry_00000000_x", "\xe9"])
async def test_a_wrong_token_is_refused_even_beside_a_session(site: Site, text: str) -> None:
    async with site.logged_in() as ann:
        sent = [(b"authorization", f"Bearer {text}".encode("latin-1"))]
        answer = await ann.get(SESSION, headers=sent)
        assert (answer.status_code, error_of(answer)["code"]) == (401, "web.token-refused")


async def test_tokens_are_made_shown_once_listed_and_taken_back(site: Site) -> None:
    async with site.logged_in() as ann, site.visitor() as program:
        made = (await ann.post("/api/v1/tokens", json={"name": "ci", "days": 1})).json()
        program.headers["authorization"] = f"Bearer {made['token']}"
        assert (await program.get(SESSION)).json()["role"] == "read-only"
        listed = await ann.get("/api/v1/tokens")
        assert made["token"] not in listed.text
        assert [each["id"] for each in listed.json()] == [made["id"]]
        assert (await ann.delete(f"/api/v1/tokens/{made['id']}")).status_code == 204
        assert (await program.get(SESSION)).status_code == 401
        assert (await ann.delete(f"/api/v1/tokens/{made['id']}")).status_code == 404


# --- size, and plain HTTP for tests


async def test_a_body_larger_than_any_that_makes_sense_is_refused(site: Site) -> None:
    async with site.logged_in() as ann:
        answer = await ann.post("/api/v1/phones/import", content=b"x" * (8 * 1024 * 1024 + 1))
        assert (answer.status_code, error_of(answer)["code"]) == (413, "web.too-large")


async def test_over_plain_http_cookies_work_without_tls_and_nothing_promises_any(make_cluster: MakeCluster) -> None:
    context = WebContext(make_cluster(nodes=1), https=False)
    context.passwords.put_user("ann", Role.OPERATOR, PASSWORD)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(context)), base_url="http://localhost") as h:
        answer = await h.post(SESSION, json={"name": "ann", "password": PASSWORD})
        assert "secure" not in answer.headers["set-cookie"].lower()
        assert "strict-transport-security" not in answer.headers
        assert (await h.get(SESSION)).status_code == 200
