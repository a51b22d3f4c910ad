"""Certificate Management: find, show, download; changes with what follows told first."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from certferry.cluster.cluster import Cluster
from certferry.cluster.values import TrustChange
from certferry.trust.purpose import Purpose, Store
from certferry.web.pages.certificate_list import Search, moment
from certferry.wire.certificate import Certificate
from conftest import MakeCertificate, MakeCluster
from web_pages import Drawn, reading
from web_site import Site

LIST = "/security/certificates"
CSR, UPLOAD = "/security/certificate/csr", "/security/certificate/upload"


@pytest.fixture
def site(make_cluster: MakeCluster) -> Site:
    return Site(make_cluster(nodes=2, secure=True))


def add(cluster: Cluster, store: Store, *certificates: Certificate, origin: str = "destination") -> None:
    changes = [TrustChange("add", store, each, origin) for each in certificates]
    cluster.change_trust(changes, action="bulk import")


def names(drawn: Drawn) -> list[str]:
    """The paths of the certificates listed, in order."""
    return [link for link in drawn.links if link.startswith(f"{LIST}/")]


# --- finding


async def test_own_certificates_come_first_then_the_stores(site: Site) -> None:
    async with reading(site) as reader:
        kinds = [path.split("/")[3] for path in names(await reader.open(f"{LIST}?size=200"))]
    assert kinds == sorted(kinds)
    assert {"own", "trust"} == set(kinds)


@pytest.mark.parametrize("order", ["certificate", "common-name", "expiration"])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_laid_side_by_side_are_the_whole_list(site: Site, order: str, descending: bool) -> None:
    whole = Search(order=order, descending=descending, size=200).find(site.cluster, moment())
    pages = [
        Search(order=order, descending=descending, number=number, size=7).find(site.cluster, moment()).rows
        for number in range(1, whole.total // 7 + 2)
    ]
    assert [row for page in pages for row in page] == list(whole.rows)
    assert len(whole.rows) == whole.total == len(site.cluster.identities()) + len(site.cluster.trust_entries())


async def test_certificates_are_found_by_text_store_and_usage(site: Site) -> None:
    async with reading(site) as reader:
        by_name = await reader.open(f"{LIST}?text=ITLRECOVERY")
        assert len(names(by_name)) == 3
        one_store = await reader.open(f"{LIST}?store=TVS-trust")
        assert {path.split("/")[4] for path in names(one_store)} == {"TVS-trust"}
        own = await reader.open(f"{LIST}?store=tomcat&usage=identity")
        assert {path.split("/")[4] for path in names(own)} == {"tomcat"}
        assert names(await reader.open(f"{LIST}?store=tomcat&usage=trust")) == []
        assert "No records found." in (await reader.open(f"{LIST}?text=nobody")).text


async def test_a_fingerprint_may_be_written_with_colons(site: Site) -> None:
    sha256 = site.cluster.identity(Purpose.TVS).certificate.sha256.upper()
    colons = ":".join(sha256[at : at + 2] for at in range(0, 64, 2))
    async with reading(site) as reader:
        assert {path.split("/")[4] for path in names(await reader.open(f"{LIST}?text={colons}"))} == {
            "TVS",
            "TVS-trust",
        }


async def test_what_expires_soon_is_found_and_marked(site: Site, make_certificate: MakeCertificate) -> None:
    now = datetime.now(UTC)
    soon = make_certificate("CN=soon", not_before=now - timedelta(9), not_after=now + timedelta(days=20))
    gone = make_certificate("CN=gone", not_before=now - timedelta(9), not_after=now - timedelta(days=1))
    add(site.cluster, Store.TOMCAT_TRUST, soon, gone)
    async with reading(site) as reader:
        within = await reader.open(f"{LIST}?expiry=30&order=expiration")
        assert [path.rsplit("/")[-1] for path in names(within)] == [gone.sha256, soon.sha256]
        assert "19 days left" in within.text
        assert [path.rsplit("/")[-1] for path in names(await reader.open(f"{LIST}?expiry=0"))] == [gone.sha256]


@pytest.mark.parametrize(
    "query", ["page=0", "page=999999999999", "size=7", "order=sideways", "expiry=-4", "store=nowhere"]
)
async def test_a_query_that_means_nothing_is_no_error(site: Site, query: str) -> None:
    async with reading(site) as reader:
        assert (await reader.open(f"{LIST}?{query}")).status == 200


# --- showing


async def test_a_certificate_is_shown_with_every_field_and_downloaded(site: Site) -> None:
    held = site.cluster.identity(Purpose.CALLMANAGER).certificate
    path = f"{LIST}/own/CallManager/{held.sha256}"
    async with reading(site) as reader:
        drawn = await reader.open(path)
        for told in (held.subject, held.serial_hex, "RSA 2048", "sha256WithRSAEncryption", "Key usage", "SAN"):
            assert told in drawn.text
        assert "System Administrator Security Token" in drawn.text
        assert "ITL of source-pub" in drawn.text
        pem = await reader.client.get(f"{path}/download?form=pem")
        der = await reader.client.get(f"{path}/download?form=der")
    assert Certificate.from_pem(pem.content) == held
    assert Certificate.parse(der.content) == held
    assert 'filename="source-pub.pem"' in pem.headers["content-disposition"]
    assert b"PRIVATE" not in pem.content


@pytest.mark.parametrize("path", [f"{LIST}/own/tomcat/{'0' * 64}", f"{LIST}/trust/nowhere/{'0' * 64}"])
async def test_a_certificate_that_is_not_there_is_told_so(site: Site, path: str) -> None:
    async with reading(site) as reader:
        drawn = await reader.open(path)
    assert drawn.status == 404
    assert "cluster.certificate-not-found" in drawn.text


# --- regenerating


async def test_regenerating_tells_what_follows_and_happens_once(site: Site) -> None:
    before = site.cluster.identity(Purpose.CALLMANAGER).certificate
    path = "/security/certificate/regenerate/CallManager/source-pub"
    async with reading(site) as reader:
        asked = await reader.open(path)
        for told in (
            "All phones reset",
            "Rebuilt: ITL of source-pub",
            "export (tftp)",
            "Cisco TFTP",
            before.serial_hex,
        ):
            assert told in asked.text
        assert site.cluster.identity(Purpose.CALLMANAGER).certificate == before
        done = await reader.send(asked, path)
        assert "Successfully regenerated certificate for CallManager of source-pub" in done.text
        after = site.cluster.identity(Purpose.CALLMANAGER).certificate
        assert after != before
        assert "Successfully regenerated" in (await reader.send(asked, path)).text
    assert site.cluster.identity(Purpose.CALLMANAGER).certificate == after


async def test_of_two_administrators_who_regenerate_at_once_one_is_told_that_it_was_done(site: Site) -> None:
    path = "/security/certificate/regenerate/TVS/source-pub"
    async with reading(site) as reader:
        first, second = await reader.open(path), await reader.open(path)
        await reader.send(first, path)
        late = await reader.send(second, path)
    assert late.status == 409
    assert "cluster.certificate-replaced" in late.text


# --- deleting


async def test_deleting_tells_which_roles_are_lost_and_can_be_undone(
    site: Site, make_certificate: MakeCertificate
) -> None:
    foreign = make_certificate("CN=destination-pub")
    add(site.cluster, Store.PHONE_SAST_TRUST, foreign)
    async with reading(site) as reader:
        asked = await reader.open(f"{LIST}/trust/Phone-SAST-trust/{foreign.sha256}/delete")
        assert "TVS stops vouching for it as: SAST, TFTP." in asked.text
        assert "can no longer move to destination" in asked.text
        done = await reader.send(asked, f"/security/certificate/delete/Phone-SAST-trust/{foreign.sha256}")
        assert "Deleted destination-pub from Phone-SAST-trust." in done.text
        assert foreign not in {entry.certificate for entry in site.cluster.trust_entries()}
        undo = next(link for link in done.links if "/undo/" in link)
        asked = await reader.open(undo)
        assert "put back" in asked.text
        assert "was taken back. Steps: 1." in (await reader.send(asked, undo)).text
    assert foreign in {entry.certificate for entry in site.cluster.trust_entries()}


async def test_a_copy_of_an_own_certificate_offers_no_deletion_and_refuses_it(site: Site) -> None:
    held = site.cluster.identity(Purpose.TVS).certificate
    path = f"{LIST}/trust/TVS-trust/{held.sha256}"
    async with reading(site) as reader:
        drawn = await reader.open(path)
        assert f"{path}/delete" not in drawn.links
        assert "regenerate the certificate instead" in drawn.text
        asked = await reader.open(f"{path}/delete")
        refused = await reader.send(asked, f"/security/certificate/delete/TVS-trust/{held.sha256}")
    assert refused.status == 409
    assert "cluster.trust-entry-own" in refused.text


# --- CSR


async def test_a_csr_is_made_once_shown_and_downloaded(site: Site) -> None:
    async with reading(site) as reader:
        asked = await reader.open(CSR)
        made = await reader.send(asked, CSR, purpose="tomcat", names="www.example.net sip.example.net")
        again = await reader.send(asked, CSR, purpose="tomcat", names="www.example.net sip.example.net")
        assert made.path == again.path
        assert made.text == again.text
        sent = await reader.client.get(f"{made.path}?download=1")
    request = x509.load_pem_x509_csr(sent.content)
    names_asked = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "www.example.net" in names_asked.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"purpose": ""}, "purpose"),
        ({"purpose": "ITLRecovery"}, "purpose"),
        ({"purpose": "TVS", "multi_server": "yes"}, "purpose"),
        ({"purpose": "tomcat", "node": "nobody"}, "node"),
        ({"purpose": "tomcat", "names": "é.example"}, "names"),
    ],
)
async def test_what_is_wrong_with_a_csr_is_told_beside_the_field(site: Site, typed: dict[str, str], field: str) -> None:
    async with reading(site) as reader:
        after = await reader.send(await reader.open(CSR), CSR, **typed)
    assert after.status == 422
    assert after.error_beside(field)
    if typed["purpose"] in ("tomcat", "TVS"):
        assert after.form(CSR).values["purpose"] == typed["purpose"]


async def test_a_csr_that_waits_is_downloaded_again_by_anybody_until_its_answer_comes(site: Site) -> None:
    node = site.cluster.nodes()[0].name
    async with reading(site) as reader:
        assert "Waiting for a certificate" not in (await reader.open(CSR)).text
        site.cluster.request_certificate(Purpose.TVS, node)
        pem = site.cluster.request_certificate(Purpose.TOMCAT, multi_server=True)
        asked = await reader.open(CSR)
        sent = await reader.client.get(f"{CSR}/waiting/tomcat?node=")
        none = await reader.open(f"{CSR}/waiting/tomcat?node={node}")
    assert "Waiting for a certificate" in asked.text
    assert f"TVS {node}" in asked.text
    assert "tomcat Multi-server (SAN)" in asked.text
    assert sent.text == pem
    assert sent.headers["content-disposition"] == 'attachment; filename="tomcat.csr"'
    assert none.status == 409
    assert f"no CSR of tomcat waits for node {node}" in none.text


async def test_a_csr_nobody_remembers_leads_to_the_form(site: Site) -> None:
    async with reading(site) as reader:
        assert (await reader.open(f"{CSR}/forgotten")).path == CSR


# --- upload


async def test_a_trust_certificate_is_shown_first_then_uploaded_once(
    site: Site, make_certificate: MakeCertificate
) -> None:
    now = datetime.now(UTC)
    authority = make_certificate("CN=Example CA", not_before=now - timedelta(1), not_after=now + timedelta(999))
    async with reading(site) as reader:
        asked = await reader.open(UPLOAD)
        files = {"file": authority.pem.encode()}
        shown = await reader.send(asked, UPLOAD, files=files, target="tomcat-trust", description="our CA")
        assert "CN=Example CA" in shown.text
        assert "new in this store" in shown.text
        assert authority not in {entry.certificate for entry in site.cluster.trust_entries()}
        done = await reader.send(shown, UPLOAD)
        assert "Successfully uploaded Example CA to tomcat-trust." in done.text
        await reader.send(shown, UPLOAD)
    (entry,) = [entry for entry in site.cluster.trust_entries() if entry.certificate == authority]
    assert (entry.description, entry.origin) == ("our CA", "upload")
    assert sum('"upload"' in line for line in site.cluster.audit_lines()) == 1


async def test_a_certificate_the_store_does_not_take_cannot_be_confirmed(
    site: Site, make_certificate: MakeCertificate
) -> None:
    wildcard = make_certificate("CN=*.example.net", not_after=datetime.now(UTC) + timedelta(99))
    async with reading(site) as reader:
        asked = await reader.open(UPLOAD)
        shown = await reader.send(asked, UPLOAD, files={"file": wildcard.der}, target="tomcat-trust")
        assert "wildcard" in shown.text
        assert ("button", {"type": "submit"}) not in shown.tags
        await reader.send(shown, UPLOAD)
    assert wildcard not in {entry.certificate for entry in site.cluster.trust_entries()}


@pytest.mark.parametrize(
    ("data", "target", "field"),
    [
        (b"", "tomcat-trust", "file"),
        (b"hello", "tomcat-trust", "file"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "tomcat-trust", "file"),
        (b"x" * (1024 * 1024 + 1), "tomcat-trust", "file"),
        (b"hello", "", "target"),
        (b"hello", "ITLRecovery-trust", "target"),
    ],
)
async def test_what_is_wrong_with_an_upload_is_told_beside_the_field(
    site: Site, data: bytes, target: str, field: str
) -> None:
    async with reading(site) as reader:
        asked = await reader.open(UPLOAD)
        after = await reader.send(asked, UPLOAD, files={"file": data}, target=target, description="kept")
    assert after.status == 422
    assert after.error_beside(field)
    assert after.form(UPLOAD).values["description"] == "kept"


async def test_an_answer_to_no_csr_is_refused_beside_the_file(site: Site, make_certificate: MakeCertificate) -> None:
    answer = make_certificate("CN=source-pub", issuer="CN=Example CA", not_after=datetime.now(UTC) + timedelta(99))
    async with reading(site) as reader:
        asked = await reader.open(UPLOAD)
        shown = await reader.send(asked, UPLOAD, files={"file": answer.pem.encode()}, target="tomcat")
        assert "Cisco Tomcat" in shown.text
        after = await reader.send(shown, UPLOAD)
    assert after.status == 422
    assert "no CSR of tomcat waits" in after.error_beside("file")
