"""The API does what the command line does, route by route, and refuses in the one form with the right status."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client.parser import text_string_to_metric_families

from certferry.bulk.settings import SftpSettings
from certferry.cluster.accounts import Role
from certferry.trust.purpose import Purpose, Store
from certferry.web.context import WebContext
from certferry.web.refusals import status_of
from certferry.web.security import session_cookie
from certferry.wire.certificate import Certificate
from certferry.wire.trust_list import TrustList
from conftest import CLUSTER_BORN, MakeCertificate, MakeCluster, x509_name
from product import every_refusal
from web_site import Site, error_of

V1 = "/api/v1"


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    other = make_cluster("destination", "12.5.1", nodes=1)
    return Site(make_cluster(nodes=2, secure=True), {other.name: other})


@pytest.fixture
async def ann(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.logged_in() as client:
        yield client


async def got(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"{V1}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(answer: httpx.Response, status: int, code: str) -> Any:
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (status, code)
    return error


# --- the cluster


async def test_the_cluster_is_described(site: Site, ann: httpx.AsyncClient) -> None:
    site.cluster.report_served({"source-pub": 1})
    site.cluster.heartbeats.beat("serve", ["source-pub"])
    told = await got(ann, "cluster")
    assert [node["running"] for node in told["nodes"]] == [True, False]
    assert (told["name"], told["release"], told["security_mode"]) == ("source", "11.5.1", "mixed")
    assert [(node["name"], node["served_version"]) for node in told["nodes"]] == [
        ("source-pub", 1), ("source-sub1", None),
    ]  # fmt: skip
    assert await got(ann, "nodes") == told["nodes"]
    assert await got(ann, "served") == {"version": told["version"], "nodes": {"source-pub": 1}}


async def test_every_cluster_that_the_server_shows_is_named_by_its_name(ann: httpx.AsyncClient) -> None:
    assert [each["name"] for each in await got(ann, "clusters")] == ["source", "destination"]
    assert (await got(ann, "cluster", cluster="destination"))["release"] == "12.5.1"
    await refused(await ann.get(f"{V1}/cluster?cluster=nowhere"), 404, "web.cluster-unknown")


async def test_a_parameter_is_set_and_tells_the_lists_rebuilt(site: Site, ann: httpx.AsyncClient) -> None:
    answer = await ann.put(f"{V1}/parameters/rollback-to-pre-8.0", json={"value": "True"})
    assert answer.json() == {"rebuilt": ["ITL of source-pub", "ITL of source-sub1"]}
    parameters = {each["key"]: each for each in await got(ann, "parameters")}
    assert parameters["rollback-to-pre-8.0"]["value"] == "true"
    assert parameters["rollback-to-pre-8.0"]["title"] == "Prepare Cluster for Rollback to Pre 8.0"
    await refused(await ann.put(f"{V1}/parameters/nothing", json={"value": "x"}), 404, "cluster.parameter-unknown")
    answer = await ann.put(f"{V1}/parameters/security-mode", json={"value": "x"})
    await refused(answer, 400, "cluster.parameter-value")
    answer = await ann.put(f"{V1}/parameters/security-mode", json={"value": "mixed", "more": 1})
    assert "more" in (await refused(answer, 422, "web.input"))["fields"]


async def test_a_service_is_given_another_port(site: Site, ann: httpx.AsyncClient) -> None:
    told = (await ann.put(f"{V1}/nodes/SOURCE-sub1/ports/tvs", json={"port": 12445})).json()
    assert [(node["name"], node["ports"]["tvs"]) for node in told] == [("source-pub", 2445), ("source-sub1", 12445)]
    assert json.loads(site.cluster.audit_lines()[-1])["action"] == "set-port"
    await refused(await ann.put(f"{V1}/nodes/x/ports/tvs", json={"port": 1}), 404, "cluster.node-unknown")
    await refused(await ann.put(f"{V1}/nodes/source-pub/ports/tvs", json={"port": 0}), 422, "web.input")
    await refused(await ann.put(f"{V1}/nodes/source-pub/ports/ssh", json={"port": 22}), 422, "web.input")


async def test_a_callmanager_group_is_put(site: Site, ann: httpx.AsyncClient) -> None:
    members = ["source-sub1", "source-pub"]
    told = (await ann.put(f"{V1}/groups/Branch", json={"members": members})).json()
    assert {"name": "Branch", "members": members} in told
    answer = await ann.put(f"{V1}/groups/Branch", json={"members": ["elsewhere"]})
    await refused(answer, 400, "cluster.group-invalid")
    await refused(await ann.put(f"{V1}/groups/Branch", json={"members": []}), 422, "web.input")
    assert ("Branch", tuple(members)) in [(group.name, group.members) for group in site.cluster.groups()]


async def test_ports_and_groups_are_for_operators(site: Site) -> None:
    async with site.logged_in("bob") as bob:
        for path, wanted in (("nodes/source-pub/ports/tvs", {"port": 9}), ("groups/x", {"members": ["source-pub"]})):
            await refused(await bob.put(f"{V1}/{path}", json=wanted), 403, "web.read-only")


# --- certificates


async def test_own_certificates_are_listed_and_filtered(site: Site, ann: httpx.AsyncClient) -> None:
    assert len(await got(ann, "certificates/own")) == len(site.cluster.identities())
    tomcat = await got(ann, "certificates/own", purpose="tomcat", node="SOURCE-sub1")
    assert [each["sha256"] for each in tomcat] == [
        site.cluster.identity(Purpose.TOMCAT, "source-sub1").certificate.sha256
    ]
    assert await got(ann, "certificates/own", expires_before="2026-06-02T00:00:00Z") == []


async def test_trust_entries_come_in_pages_until_there_is_no_next(site: Site, ann: httpx.AsyncClient) -> None:
    found, cursor = [], None
    while True:
        page = await got(ann, "certificates/trust", limit=5, **({"cursor": cursor} if cursor else {}))
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(found) == page["total"] == len(site.cluster.trust_entries())
    for wrong in ("x", "-1", "1" * 15, "\u0661"):
        answer = await ann.get(f"{V1}/certificates/trust", params={"cursor": wrong})
        assert "cursor" in (await refused(answer, 422, "web.input"))["fields"]


async def test_a_certificate_is_shown_with_all_fields_and_downloaded(site: Site, ann: httpx.AsyncClient) -> None:
    own = site.cluster.identity(Purpose.TOMCAT).certificate
    shown = await got(ann, f"certificates/{own.sha256}")
    assert shown["pem"] == own.pem
    assert shown["alternative_names"] == ["source-pub"]
    assert shown["signature_algorithm"] == "sha256WithRSAEncryption"
    assert shown["used_for"] == [{"purpose": "tomcat", "node": "source-pub"}]
    assert shown["stores"] == ["tomcat-trust"]
    pem = await ann.get(f"{V1}/certificates/{own.sha256}/pem")
    assert Certificate.from_pem(pem.text) == own
    assert "PRIVATE" not in pem.text
    assert pem.headers["content-disposition"] == f'attachment; filename="source-pub_{own.serial_hex}.pem"'
    await refused(await ann.get(f"{V1}/certificates/{'0' * 64}"), 404, "cluster.certificate-not-found")


async def test_a_certificate_is_regenerated_once_however_often_it_is_clicked(
    site: Site, ann: httpx.AsyncClient
) -> None:
    told = await got(ann, "certificates/own/TVS/consequences")
    assert any("CallManager groups reset" in sentence for sentence in told["sentences"])
    before = site.cluster.identity(Purpose.TVS).certificate.sha256
    first, second = [
        await ann.post(f"{V1}/certificates/own/TVS/regenerate", json={"replaces": before}) for _ in range(2)
    ]
    assert first.json()["consequences"] == told["sentences"]
    assert first.json()["certificate"]["sha256"] == site.cluster.identity(Purpose.TVS).certificate.sha256 != before
    await refused(second, 409, "cluster.certificate-replaced")
    await refused(await ann.get(f"{V1}/certificates/own/TVS/consequences?node=x"), 404, "cluster.node-unknown")


async def test_a_ca_signs_a_csr_and_its_answer_is_installed(
    site: Site, ann: httpx.AsyncClient, rsa_key: rsa.RSAPrivateKey
) -> None:
    ca = certificate_authority(rsa_key)
    answer = await ann.post(f"{V1}/certificates/trust", json={"store": "tomcat-trust", "certificate": ca.pem})
    assert answer.json()["action"] == "add"
    made = await ann.post(f"{V1}/certificates/csr", json={"purpose": "tomcat", "names": ["cm.example"]})
    (waits,) = (await ann.get(f"{V1}/certificates/csr")).json()
    assert waits == {"purpose": "tomcat", "node": site.cluster.publisher.name, "csr": made.json()["csr"]}
    signed = signed_by(ca, rsa_key, x509.load_pem_x509_csr(made.json()["csr"].encode()))
    wanted = {"purpose": "tomcat", "certificate": signed.pem + ca.pem}
    installed = await ann.post(f"{V1}/certificates/own", json=wanted)
    assert installed.json()["certificate"]["sha256"] == signed.sha256
    assert site.cluster.identity(Purpose.TOMCAT).certificate == signed
    assert (await ann.get(f"{V1}/certificates/csr")).json() == []
    await refused(await ann.post(f"{V1}/certificates/own", json=wanted), 409, "cert.request-unknown")
    answer = await ann.post(f"{V1}/certificates/csr", json={"purpose": "ITLRecovery"})
    await refused(answer, 400, "cert.request-impossible")


def certificate_authority(key: rsa.RSAPrivateKey) -> Certificate:
    name = x509_name("CN=Example CA")
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(77).not_valid_before(CLUSTER_BORN).not_valid_after(CLUSTER_BORN + timedelta(900))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Certificate.of(builder.sign(key, hashes.SHA256()))


def signed_by(ca: Certificate, key: rsa.RSAPrivateKey, csr: x509.CertificateSigningRequest) -> Certificate:
    builder = x509.CertificateBuilder().subject_name(csr.subject).issuer_name(ca.x509.subject)
    builder = builder.public_key(csr.public_key()).serial_number(78).not_valid_before(CLUSTER_BORN)
    return Certificate.of(builder.not_valid_after(CLUSTER_BORN + timedelta(90)).sign(key, hashes.SHA256()))


async def test_a_trust_certificate_is_uploaded_deleted_and_brought_back(
    site: Site, ann: httpx.AsyncClient, make_certificate: MakeCertificate
) -> None:
    foreign = make_certificate("CN=partner;OU=Voice")
    wanted = {"store": "Phone-SAST-trust", "certificate": foreign.pem, "description": "partner"}
    done = [(await ann.post(f"{V1}/certificates/trust", json=wanted)).json() for _ in range(2)]
    assert [(each["action"], each["undo"] is None) for each in done] == [("add", False), ("skip", True)]
    page = await got(ann, "certificates/trust", text="partner")
    assert [(each["store"], each["origin"], each["own"]) for each in page["items"]] == [
        ("Phone-SAST-trust", "upload", False)
    ]
    place = f"{V1}/certificates/trust/Phone-SAST-trust/{foreign.sha256}"
    gone = await ann.delete(place)
    await refused(await ann.delete(place), 404, "cluster.certificate-not-found")
    taken_back = (await ann.post(f"{V1}/bulk/undo/{gone.json()['undo']}")).json()
    assert taken_back["changes"] == [{"action": "add", "store": "Phone-SAST-trust", "sha256": foreign.sha256}]
    again = await ann.post(f"{V1}/bulk/undo/{gone.json()['undo']}")
    await refused(again, 409, "cluster.undo-impossible")
    actions = [each["action"] for each in (await got(ann, "bulk/history"))["items"]]
    assert actions == ["delete", "upload"]


async def test_an_own_certificate_is_not_deleted_from_a_store(site: Site, ann: httpx.AsyncClient) -> None:
    own = site.cluster.identity(Purpose.TOMCAT).certificate
    answer = await ann.delete(f"{V1}/certificates/trust/tomcat-trust/{own.sha256}")
    await refused(answer, 409, "cluster.trust-entry-own")


async def test_what_a_store_does_not_take_is_refused_with_the_reason(
    ann: httpx.AsyncClient, make_certificate: MakeCertificate
) -> None:
    wildcard = make_certificate("CN=*.example")
    answer = await ann.post(f"{V1}/certificates/trust", json={"store": "CAPF-trust", "certificate": wildcard.pem})
    assert "wildcard" in (await refused(answer, 422, "cert.upload-refused"))["sentence"]
    answer = await ann.post(f"{V1}/certificates/trust", json={"store": "CAPF-trust", "certificate": "no PEM"})
    await refused(answer, 422, "wire.certificate")


# --- trust lists, phones


async def test_trust_lists_are_decoded_and_downloaded_as_phones_get_them(site: Site, ann: httpx.AsyncClient) -> None:
    lists = (await got(ann, "trust-lists"))["items"]
    assert [(each["kind"], each["node"]) for each in lists] == [
        ("CTL", None), ("ITL", "source-pub"), ("ITL", "source-sub1"),
    ]  # fmt: skip
    assert {each["signature"] for each in lists} == {"valid"}
    file = await ann.get(f"{V1}/trust-lists/ITL/file", params={"node": "source-pub"})
    assert file.content == site.cluster.trust_list("ITL", "source-pub")
    assert len(TrustList.parse(file.content).records) == len(lists[1]["records"])
    await refused(await ann.get(f"{V1}/trust-lists/ITL/file?node=x"), 404, "web.list-unknown")


async def test_phones_are_added_found_and_forgotten(ann: httpx.AsyncClient) -> None:
    added = await ann.post(f"{V1}/phones", json={"device": "00:1B:54:AA:BB:CC", "description": "lobby"})
    assert (added.status_code, added.json()) == (201, {"count": 1})
    page = await got(ann, "phones", text="lobby")
    assert [each["device"] for each in page["items"]] == ["SEP001B54AABBCC"]
    assert (await ann.delete(f"{V1}/phones/SEP001B54AABBCC")).json() == {"count": 1}
    await refused(await ann.delete(f"{V1}/phones/SEP001B54AABBCC"), 404, "cluster.phone-unknown")
    await refused(await ann.post(f"{V1}/phones", json={"device": "telephone"}), 400, "cluster.phone-invalid")


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
@pytest.mark.parametrize("part", ["trust", "own"])
async def test_a_time_that_the_calendar_does_not_have_is_bad_input(
    ann: httpx.AsyncClient, part: str, moment: str
) -> None:
    answer = await ann.get(f"/api/v1/certificates/{part}", params={"expires_before": moment})
    assert (answer.status_code, error_of(answer)["code"]) == (422, "web.input")


async def test_phones_of_a_csv_come_all_or_none(site: Site, ann: httpx.AsyncClient) -> None:
    good = "device,model,secure\n" + "".join(f"SEP{number:012X},8861,yes\n" for number in range(1200))
    headers = {"content-type": "text/csv"}
    answer = await ann.post(f"{V1}/phones/import", content=good, headers=headers)
    assert answer.json() == {"count": 1200}
    assert (await got(ann, "phones", limit=1000))["next"] == "1000"
    answer = await ann.post(f"{V1}/phones/import", content="device\nSEP1\nSEPFFFFFFFFFFFF\n", headers=headers)
    assert "line 2" in (await refused(answer, 400, "cluster.phone-invalid"))["sentence"]
    assert len(site.cluster.phones()) == 1200
    answer = await ann.post(f"{V1}/phones/import", content=b"device\n\xff", headers=headers)
    await refused(answer, 422, "web.input")


# --- bulk


SFTP = {"host": "192.0.2.9", "user": "cisco", "directory": "/users/cisco", "password": "very-secret"}


async def test_the_sftp_form_is_saved_and_never_gives_the_password_back(site: Site, ann: httpx.AsyncClient) -> None:
    assert await got(ann, "bulk/settings") is None
    saved = await ann.put(f"{V1}/bulk/settings", json=SFTP)
    assert saved.json()["password_set"]
    answers = [saved, await ann.get(f"{V1}/bulk/settings"), await ann.get(f"{V1}/audit")]
    assert not any("very-secret" in answer.text for answer in answers)
    assert SftpSettings.load(site.cluster).password == "very-secret"
    await ann.put(f"{V1}/bulk/settings", json={"directory": "/other"})
    assert SftpSettings.load(site.cluster).password == "very-secret"
    assert [each["action"] for each in (await got(ann, "audit", text="sftp"))["items"]] == ["save-sftp"] * 2


async def test_a_password_does_not_go_to_another_server(site: Site, ann: httpx.AsyncClient) -> None:
    await ann.put(f"{V1}/bulk/settings", json=SFTP)
    changed = await ann.put(f"{V1}/bulk/settings", json={"host": "192.0.2.66"})
    assert not changed.json()["password_set"]
    assert SftpSettings.load(site.cluster).password == ""


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"port": 0}, "port"), ({"port": "ssh"}, "port"), ({"host": ""}, "host"), ({"password": 7}, "password")],
)
async def test_bad_input_in_the_form_names_the_field_and_saves_nothing(
    site: Site, ann: httpx.AsyncClient, wrong: dict[str, object], field: str
) -> None:
    answer = await ann.put(f"{V1}/bulk/settings", json={**SFTP, **wrong})
    assert list((await refused(answer, 422, "web.input"))["fields"]) == [field]
    assert "very-secret" not in answer.text
    assert site.cluster.setting("sftp.host") is None


async def test_settings_without_a_host_are_refused(ann: httpx.AsyncClient) -> None:
    await refused(await ann.put(f"{V1}/bulk/settings", json={"port": 22}), 400, "bulk.settings-wrong")


async def test_a_job_that_fails_says_why_and_what_to_do(site: Site, ann: httpx.AsyncClient) -> None:
    started = await ann.post(f"{V1}/bulk/export", json={})
    assert (started.status_code, started.json()["state"]) == (202, "running")
    await site.ended()
    job = await got(ann, f"jobs/{started.json()['id']}")
    assert (job["state"], job["error"]["code"]) == ("failed", "bulk.settings-missing")
    assert [each["id"] for each in (await got(ann, "jobs"))["items"]] == [job["id"]]


async def test_a_plan_that_nobody_made_is_not_carried_out(ann: httpx.AsyncClient) -> None:
    await refused(await ann.post(f"{V1}/bulk/import", json={"plan": "x"}), 404, "web.plan-unknown")
    await refused(await ann.get(f"{V1}/jobs/x"), 404, "web.job-unknown")
    await refused(await ann.get(f"{V1}/jobs/x/events"), 404, "web.job-unknown")
    await refused(await ann.get(f"{V1}/report/x"), 404, "web.job-unknown")


# --- audit, watching


async def test_the_audit_log_names_who_did_what(ann: httpx.AsyncClient) -> None:
    await ann.put(f"{V1}/parameters/rollback-to-pre-8.0", json={"value": "true"})
    (line,) = (await got(ann, "audit", limit=1))["items"]
    assert (line["actor"], line["action"]) == ("ann", "set-parameter")
    assert line["details"] == {"key": "rollback-to-pre-8.0", "value": "true"}
    assert (await got(ann, "audit/check"))["lines"] == (await got(ann, "audit"))["total"]


async def test_prometheus_learns_when_each_certificate_ends(site: Site) -> None:
    async with site.visitor() as machine:
        answer = await machine.get("/metrics")
        families = {each.name: each for each in text_string_to_metric_families(answer.text)}
    samples = families["certferry_certificate_not_after_timestamp_seconds"].samples
    own = site.cluster.identity(Purpose.TVS).certificate
    wanted = {"cluster": "source", "node": "source-pub", "purpose": "TVS", "store": "", "subject": own.subject}
    (found,) = [each for each in samples if wanted.items() <= each.labels.items()]
    assert found.value == own.not_after.timestamp()
    stores = {each.labels["store"] for each in samples if each.labels["cluster"] == "destination"} - {""}
    assert stores == {entry.store.value for entry in site.others["destination"].trust_entries()}
    assert {each.labels["cluster"]: each.value for each in families["certferry_phones"].samples} == {
        "source": 0.0, "destination": 0.0,
    }  # fmt: skip


async def test_a_cluster_that_cannot_be_read_is_not_ready_but_lives(site: Site) -> None:
    async with site.visitor() as machine:
        assert (await machine.get("/readyz")).text == "ok\n"
        site.cluster.location.database.unlink()
        assert (await machine.get("/livez")).status_code == 200
        assert (await machine.get("/readyz")).status_code == 503


async def test_an_unknown_address_and_method_are_told_in_the_one_form(ann: httpx.AsyncClient) -> None:
    await refused(await ann.get(f"{V1}/nothing"), 404, "web.no-such-page")
    answer = await ann.patch(f"{V1}/cluster")
    await refused(answer, 405, "web.method")
    assert answer.headers["allow"] == "GET"
    page = await ann.patch("/show/cluster")
    assert (page.status_code, page.headers["allow"]) == (405, "GET")


async def test_who_watches_may_ask_for_the_status_alone(site: Site) -> None:
    async with site.visitor() as machine:
        assert [(await machine.head(path)).status_code for path in ("/livez", "/readyz", "/metrics")] == [200] * 3


@pytest.mark.parametrize("said", ["text/plain", "application/x-www-form-urlencoded", "application/xml", None])
async def test_a_body_that_is_not_said_to_be_json_is_refused_as_such(ann: httpx.AsyncClient, said: str | None) -> None:
    answer = await ann.post(f"{V1}/bulk/export", content=b"{}", headers={"content-type": said} if said else {})
    await refused(answer, 415, "web.media-type")


async def test_a_body_that_is_no_json_is_told_with_the_place_where_it_breaks(ann: httpx.AsyncClient) -> None:
    answer = await ann.post(f"{V1}/bulk/export", content=b'{"types": ', headers={"content-type": "application/json"})
    error = await refused(answer, 422, "web.input")
    assert error["fields"] == {"body": "no JSON: Expecting value at character 10"}


async def test_what_is_static_is_asked_for_again_but_kept(ann: httpx.AsyncClient) -> None:
    first = await ann.get("/static/certferry.css")
    assert first.headers["cache-control"] == "no-cache"
    assert (await ann.get("/static/certferry.css", headers={"if-none-match": first.headers["etag"]})).status_code == 304


# --- the forms


def test_every_refusal_has_a_status_that_blames_the_right_side() -> None:
    for refusal in every_refusal():
        blamed = status_of(refusal.__new__(refusal)) // 100  # by its class alone: constructors differ
        assert blamed == (5 if refusal.code in ("web.unforeseen", "cluster.database") else 4), refusal.code


def test_the_description_is_complete(site: Site) -> None:
    description = site.app.openapi()
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (method, path)
            assert "4XX" in operation["responses"]
    assert "HTTPValidationError" not in json.dumps(description)
    assert Store.PHONE_SAST_TRUST.value in json.dumps(description)


# --- users


async def test_users_are_added_changed_and_removed_as_on_their_page(site: Site, ann: httpx.AsyncClient) -> None:
    wanted = {"password": "a-long-password", "role": "operator"}
    made = await ann.put(f"{V1}/users/cleo", json=wanted)
    assert (made.status_code, made.json()["name"], made.json()["role"]) == (200, "cleo", "operator")
    assert "password" not in made.text
    assert site.context.passwords.holds("cleo", "a-long-password")
    assert [(each["name"], each["role"]) for each in await got(ann, "users")] == [
        ("ann", "operator"), ("bob", "read-only"), ("cleo", "operator"),
    ]  # fmt: skip
    assert (await ann.delete(f"{V1}/users/cleo")).status_code == 204
    await refused(await ann.delete(f"{V1}/users/cleo"), 404, "web.user-unknown")
    assert [json.loads(line)["action"] for line in site.cluster.audit_lines()][-2:] == ["put-user", "remove-user"]


async def test_a_user_whose_name_has_a_slash_is_one_like_others(site: Site, ann: httpx.AsyncClient) -> None:
    assert (await ann.put(f"{V1}/users/voice%2Fcleo", json={"password": "a-long-password"})).status_code == 200
    assert site.cluster.accounts.user("voice/cleo").role is Role.READ_ONLY
    assert (await ann.delete(f"{V1}/users/voice%2Fcleo")).status_code == 204


async def test_the_last_operator_stays_one(site: Site, ann: httpx.AsyncClient) -> None:
    await refused(await ann.delete(f"{V1}/users/ann"), 409, "web.last-operator")
    wanted = {"password": "a-long-password", "role": "read-only"}
    await refused(await ann.put(f"{V1}/users/ann", json=wanted), 409, "web.last-operator")
    assert site.cluster.accounts.user("ann").role is Role.OPERATOR
    assert not site.context.passwords.holds("ann", "a-long-password")


async def test_who_may_only_look_sees_users_and_changes_none(site: Site) -> None:
    async with site.logged_in("bob") as bob:
        assert len(await got(bob, "users")) == 2
        await refused(await bob.put(f"{V1}/users/bob", json={"password": "a-long-password"}), 403, "web.read-only")
        await refused(await bob.delete(f"{V1}/users/ann"), 403, "web.read-only")


@pytest.mark.parametrize(
    ("name", "password", "code"),
    [("cleo", "short", "web.password-weak"), ("x" * 65, "a-long-password", "web.user-name")],
)
async def test_a_user_that_cannot_be_is_refused(ann: httpx.AsyncClient, name: str, password: str, code: str) -> None:
    await refused(await ann.put(f"{V1}/users/{name}", json={"password": password}), 400, code)


# --- the description


async def test_the_description_says_how_to_log_in(site: Site, ann: httpx.AsyncClient) -> None:
    description = await got(ann, "openapi.json")
    token, session = (description["components"]["securitySchemes"][name] for name in ("token", "session"))
    assert (token["type"], token["scheme"]) == ("http", "bearer")
    assert (session["in"], session["name"]) == ("cookie", session_cookie(WebContext(site.cluster)))
    either: list[dict[str, list[str]]] = [{"token": []}, {"session": []}]
    without = [
        f"{method} {path}"
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
        if operation.get("security") != either
    ]
    assert without == [f"post {V1}/session"]
