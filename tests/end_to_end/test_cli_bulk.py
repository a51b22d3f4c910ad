"""``certferry bulk`` as an operator uses it: the four buttons over real SFTP, plan, undo, and every refusal."""

import json
import shlex
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from certferry.bulk.files import lock_name
from certferry.bulk.lock import Lock, utc_now
from certferry.cli.output import Output
from certferry.cluster.cluster import Cluster
from certferry.cluster.values import TrustChange
from certferry.lab.keys import PooledKeys
from certferry.serve.lab_sftp import LabSftp
from certferry.trust.purpose import Purpose
from certferry.wire.certificate import Certificate
from certferry.wire.pkcs12 import Bundle, BundledCertificate
from command_line import Background, Ended, certferry, loopback_cluster
from conftest import MakeCertificate
from openssh import needs_sshd, running_sshd
from sftp_servers import lab_sftp

PASSWORD = "gates-of-dawn-1967"


@dataclass
class Site:
    """A source and a destination cluster, and the SFTP server between them."""

    folder: Path
    server: LabSftp

    @classmethod
    def copied(cls, template: Path, folder: Path, server: LabSftp) -> "Site":
        copytree(template, folder)
        site = cls(folder, server)
        rmtree(site.exchange)
        copytree(folder / "exchange", site.exchange)
        return site

    @property
    def exchange(self) -> Path:
        return self.server._root / "exchange"

    @property
    def password_file(self) -> Path:
        return self.folder / "password"

    @property
    def source(self) -> Cluster:
        return Cluster.open(self.folder / "source")

    def bulk(self, cluster: str, *words: object) -> Ended:
        return certferry("--cluster", self.folder / cluster, "bulk", *words)

    def sftp(self, cluster: str, *words: object) -> Ended:
        host, port = self.server.address
        place = ["--host", host, "--port", port, "--user", "certferry", "--directory", "/exchange"]
        return self.bulk(cluster, "sftp", *place, "--password-file", self.password_file, *words)


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    with closing(Background()) as loop:
        yield loop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, background: Background) -> Iterator[LabSftp]:
    with background.entered(lab_sftp(tmp_path_factory.mktemp("sftp"), "certferry", PASSWORD)) as serving:
        yield serving


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory, key_pool: PooledKeys, server: LabSftp) -> Path:
    """Two clusters that know nothing of each other, and an empty directory."""
    folder = tmp_path_factory.mktemp("before")
    loopback_cluster(folder / "source", key_pool, "source", release="10.5.2").close()
    loopback_cluster(folder / "destination", key_pool, "destination").close()
    (folder / "exchange").mkdir()
    (folder / "password").write_text(f"{PASSWORD}\n")
    return folder


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory, before: Path, server: LabSftp) -> Path:
    """The same once both exported everything and one consolidated."""
    site = Site.copied(before, tmp_path_factory.mktemp("after") / "site", server)
    for cluster in ("source", "destination"):
        assert site.sftp(cluster, "--accept-new-host-key").code == 0
        assert site.bulk(cluster, "export").code == 0
    assert site.bulk("source", "consolidate").code == 0
    copytree(site.exchange, site.folder / "exchange", dirs_exist_ok=True)
    return site.folder


@pytest.fixture(autouse=True)
def nobodys_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # its known_hosts is empty
    monkeypatch.delenv("CERTFERRY_SFTP_PASSWORD", raising=False)
    monkeypatch.delenv("CERTFERRY_CLUSTER", raising=False)


@pytest.fixture
def site(tmp_path: Path, before: Path, server: LabSftp) -> Site:
    return Site.copied(before, tmp_path / "site", server)


@pytest.fixture
def exchanged(tmp_path: Path, after: Path, server: LabSftp) -> Site:
    return Site.copied(after, tmp_path / "site", server)


# --- the settings


def test_saving_the_settings_tests_them_and_shows_the_host_key_taken_over(site: Site) -> None:
    ended = site.sftp("source", "--accept-new-host-key", "--json")
    assert ended.code == 0
    host, port = site.server.address
    assert ended.json == {
        "url": f"sftp://certferry@{host}:{port}/exchange",
        "host_key": site.server.fingerprint,
        "accepted_new_host_key": True,
    }
    assert f"Took over the host key {site.server.fingerprint}" in ended.stderr
    again = site.bulk("source", "sftp", "--json")
    assert again.json["accepted_new_host_key"] is False


def test_an_unknown_host_key_is_refused_with_its_fingerprint(site: Site) -> None:
    ended = site.sftp("source", "--json")
    assert ended.code == 1
    assert ended.error["code"] == "bulk.host-key-unknown"
    assert site.server.fingerprint in ended.error["sentence"]
    assert "--accept-new-host-key" in ended.error["remedy"]
    assert site.bulk("source", "list", "--json").error["code"] == "bulk.settings-missing"


def test_neither_host_key_nor_password_of_one_server_is_used_for_another(site: Site, background: Background) -> None:
    assert site.sftp("source", "--accept-new-host-key").code == 0
    other = LabSftp(site.server._root, "certferry", PASSWORD)
    background.call(other.start())
    ended = site.sftp("source", "--port", other.address[1], "--json")
    asked = site.bulk("source", "sftp", "--port", other.address[1], "--json")
    background.call(other.close())
    assert ended.error["code"] == "bulk.host-key-unknown"
    assert other.fingerprint in ended.error["sentence"]
    assert asked.error["code"] == "cli.password-missing"


def test_a_file_of_known_hosts_is_found_from_any_folder_later(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = site.server.address
    (tmp_path / "known").write_text(f"[{host}]:{port} {site.server.host_key_public}\n")
    monkeypatch.chdir(tmp_path)
    assert site.sftp("source", "--known-hosts", "known").code == 0
    monkeypatch.chdir("/")
    assert site.bulk("source", "list").code == 0


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (["--password-file", "wrong"], "bulk.login"),
        (["--directory", "/elsewhere"], "bulk.directory-missing"),
        (["--host", "nohost.invalid"], "bulk.unreachable"),
    ],
)
def test_what_is_wrong_with_a_setting_is_one_sentence_and_a_remedy(site: Site, given: list[str], code: str) -> None:
    (site.folder / "wrong").write_text("not-it\n")
    given = [str(site.folder / "wrong") if word == "wrong" else word for word in given]
    ended = site.sftp("source", "--accept-new-host-key", *given)
    assert (ended.code, ended.stdout) == (1, "")
    refused, following = ended.stderr.splitlines()
    assert refused.startswith("refused ")
    assert refused.endswith(f"({code})")
    assert following.startswith("next    ")


def test_a_server_that_is_not_there_is_unreachable(site: Site) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ended = site.sftp("source", "--host", "127.0.0.1", "--port", closed.getsockname()[1], "--json")
    assert ended.code == 1
    assert ended.error["code"] == "bulk.unreachable"


@pytest.mark.parametrize("words", [["--port", "0"], ["--port", "65536"], ["--port", "ssh"], ["--host", ""]])
def test_a_setting_that_cannot_be_is_wrong_usage(site: Site, words: list[str]) -> None:
    assert site.sftp("source", *words).code == 2


def test_a_password_comes_from_the_environment_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = site.server.address
    place = ["--host", host, "--port", port, "--user", "certferry", "--directory", "/exchange"]
    without = site.bulk("source", "sftp", *place, "--accept-new-host-key", "--json")
    assert (without.code, without.error["code"]) == (2, "cli.password-missing")
    monkeypatch.setenv("CERTFERRY_SFTP_PASSWORD", PASSWORD)
    assert site.bulk("source", "sftp", *place, "--accept-new-host-key").code == 0


def test_an_empty_password_file_is_refused(site: Site) -> None:
    site.password_file.write_text("\n")
    ended = site.sftp("source", "--accept-new-host-key", "--json")
    assert (ended.code, ended.error["code"]) == (2, "cli.password-empty")


def test_the_password_is_kept_sealed_and_never_shown(site: Site) -> None:
    outputs = [site.sftp("source", "--accept-new-host-key", "--json"), site.bulk("source", "export")]
    outputs += [certferry("cluster", "show", "--cluster", site.folder / "source"), site.bulk("source", "history")]
    outputs += [certferry("audit", "show", "--cluster", site.folder / "source")]
    assert all(PASSWORD not in ended.stdout + ended.stderr for ended in outputs)
    on_disk = b"".join(path.read_bytes() for path in (site.folder / "source").iterdir())
    assert PASSWORD.encode() not in on_disk


# --- the four buttons


def test_the_four_buttons_in_order(site: Site) -> None:
    for cluster in ("destination", "source"):
        assert site.sftp(cluster, "--accept-new-host-key").code == 0
    nothing_yet = site.bulk("source", "import", "--json")
    assert (nothing_yet.code, nothing_yet.error["remedy"]) == (1, "Export on both publishers first, then consolidate.")
    exported = site.bulk("destination", "export", "--json")
    assert exported.code == 0
    assert exported.json["certificates"] == sum(file["certificates"] for file in exported.json["files"])
    too_early = site.bulk("source", "consolidate", "--json")
    assert (too_early.code, too_early.error["code"]) == (1, "bulk.too-few-clusters")
    assert site.bulk("source", "export").code == 0
    not_yet = site.bulk("source", "import", "--json")
    assert (not_yet.code, not_yet.error["code"]) == (1, "bulk.not-consolidated")
    assert site.bulk("source", "consolidate").code == 0
    for cluster in ("destination", "source"):
        imported = site.bulk(cluster, "import", "--yes", "--json")
        assert imported.code == 0
        assert imported.json["undo"]


def test_the_list_has_the_files_of_all_clusters_with_the_agreed_keys(exchanged: Site) -> None:
    (exchanged.exchange / "holiday.jpg").write_bytes(b"\xff\xd8\xff")
    listed = exchanged.bulk("source", "list", "--json").json
    agreed = {"name", "cluster", "node", "type", "consolidated", "certificates", "modified"}
    assert all(agreed <= set(file) for file in listed["files"])
    assert {file["cluster"] for file in listed["files"]} >= {"source", "destination"}
    assert {file["type"] for file in listed["files"] if file["consolidated"]} == {
        "tomcat", "tftp", "capf", "itlrecovery",
    }  # fmt: skip
    stranger = next(file for file in listed["files"] if file["name"] == "holiday.jpg")
    assert (stranger["cluster"], stranger["type"], stranger["certificates"]) == (None, None, None)
    table = exchanged.bulk("source", "list")
    assert table.stdout.startswith("file ")
    assert "Next: certferry bulk import, on every cluster" in table.stdout


def test_only_the_chosen_type_is_exchanged(site: Site) -> None:
    for cluster in ("destination", "source"):
        site.sftp(cluster, "--accept-new-host-key")
        assert site.bulk(cluster, "export", "tftp").stdout.startswith("Successfully exported tftp certificate(s)")
    assert site.bulk("source", "consolidate", "tftp").code == 0
    changes = site.bulk("source", "import", "tftp", "--plan", "--json").json["changes"]
    assert {change["store"] for change in changes} == {"Phone-SAST-trust", "CallManager-trust"}


def test_a_plan_tells_every_change_and_makes_none(exchanged: Site) -> None:
    planned = exchanged.bulk("source", "import", "--plan", "--json")
    assert planned.code == 3
    agreed = {"action", "store", "subject", "sha256", "from_cluster", "reason"}
    assert all(agreed <= set(change) for change in planned.json["changes"])
    added = [change for change in planned.json["changes"] if change["action"] == "add"]
    assert {change["from_cluster"] for change in added} == {"destination"}
    assert {change["store"] for change in added} == {"Phone-SAST-trust", "CallManager-trust", "tomcat-trust"}
    assert exchanged.bulk("source", "history", "--json").json == {"history": []}
    assert exchanged.bulk("source", "import", "--plan").stdout.startswith("action ")


def test_a_second_import_changes_nothing(exchanged: Site) -> None:
    assert exchanged.bulk("source", "import", "--yes").code == 0
    assert exchanged.bulk("source", "import", "--plan").code == 0
    again = exchanged.bulk("source", "import", "--json")
    assert again.code == 0
    assert again.json["undo"] is None
    assert again.json["pending"] == 0


def test_a_plan_names_what_was_found_and_counts_what_is_skipped(exchanged: Site) -> None:
    plan = exchanged.bulk("source", "import", "--plan")
    lines = plan.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.split()[0] in ("add", "replace", "skip", "refuse")] == ["add"] * 9
    skips = sum(change["action"] == "skip" for change in planned(exchanged)["changes"])
    assert f"{skips} skipped: {skips} this cluster's own (-v lists each)" in lines
    found = [
        line.split()
        for line in lines[lines.index(f"{skips} skipped: {skips} this cluster's own (-v lists each)") + 1 :]
    ]
    assert found[:3] == [
        ["found", "from", "tomcat", "tftp", "capf", "itlrecovery"],
        ["destination", "2", "2", "1", "1"],
        ["source", "(this", "cluster)", "1", "1", "1", "1"],
    ]
    assert planned(exchanged)["found"][0] == {"cluster": "destination", "type": "tomcat", "certificates": 2}


def planned(site: Site, *words: str) -> Any:
    return site.bulk("source", "import", *words, "--plan", "--json").json


def test_every_skip_is_listed_on_demand_and_in_json(exchanged: Site) -> None:
    listed = exchanged.bulk("source", "import", "--plan", "-v").stdout.splitlines()
    changes = planned(exchanged)["changes"]
    assert sum(line.startswith("skip ") for line in listed) == sum(change["action"] == "skip" for change in changes) > 0


def test_an_import_names_the_types_it_found_not_those_it_was_asked_for(site: Site) -> None:
    for cluster in ("destination", "source"):
        site.sftp(cluster, "--accept-new-host-key")
        exported = site.bulk(cluster, "export", "tftp").stdout
        assert "tftp" in exported
    done = site.bulk("source", "consolidate")
    assert (done.code, "tftp" in done.stdout, "tomcat" in done.stdout) == (0, True, False)
    imported = site.bulk("source", "import", "--yes").stdout
    assert "Successfully imported tftp certificate(s) from destination." in imported
    assert "tomcat" not in imported
    assert "capf" not in imported


def test_a_second_import_says_so_without_an_empty_table(exchanged: Site) -> None:
    assert exchanged.bulk("source", "import", "--yes").code == 0
    again = exchanged.bulk("source", "import").stdout
    assert "action" not in again
    assert "held already" in again
    assert "Nothing to change" in again


def test_an_import_that_changes_something_asks_first(exchanged: Site) -> None:
    ended = exchanged.bulk("source", "import", "--json")
    assert (ended.code, ended.error["code"]) == (2, "cli.confirmation")
    assert "--yes" in ended.error["remedy"]
    assert exchanged.bulk("source", "import", "--plan").code == 3


def test_the_undo_that_an_import_names_can_be_run_as_it_is_printed(exchanged: Site) -> None:
    before = {(e.store, e.certificate) for e in exchanged.source.trust_entries()}
    told = exchanged.bulk("source", "import", "--yes").stdout
    printed = told.partition("Take them back with: certferry ")[2].splitlines()[0]
    assert certferry(*shlex.split(printed), "--yes").code == 0
    assert {(e.store, e.certificate) for e in exchanged.source.trust_entries()} == before


def test_undo_gives_back_exactly_what_was(exchanged: Site) -> None:
    before = exchanged.source.trust_entries()
    identifier = exchanged.bulk("source", "import", "--yes", "--json").json["undo"]
    assert len(exchanged.source.trust_entries()) > len(before)
    undone = exchanged.bulk("source", "undo", identifier, "--yes", "--json")
    assert undone.code == 0
    assert undone.json["undone"] == identifier
    assert {(e.store, e.certificate) for e in exchanged.source.trust_entries()} == {
        (e.store, e.certificate) for e in before
    }
    (latest,) = [e for e in exchanged.bulk("source", "history", "--json").json["history"] if e["id"] == identifier]
    assert latest["undone"] is True
    assert latest["action"] == "bulk import"
    assert {"id", "at", "actor", "action", "changes", "undone"} <= set(latest)
    assert exchanged.bulk("source", "undo", identifier, "--yes").code == 2
    assert exchanged.bulk("source", "undo", "no-such-change", "--yes").code == 2


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions asked at a terminal, each answered with no."""
    questions: list[str] = []
    monkeypatch.setattr(Output, "can_ask", property(lambda _: True))
    monkeypatch.setattr("typer.confirm", lambda question, **_: questions.append(question))
    return questions


def test_undo_says_before_it_asks_what_it_will_do(exchanged: Site, asked: list[str]) -> None:
    identifier = exchanged.bulk("source", "import", "--yes", "--json").json["undo"]
    ended = exchanged.bulk("source", "undo", identifier, "--json")
    assert (ended.code, ended.error["code"]) == (1, "cli.declined")
    (question,) = asked
    assert question.startswith(f"Take back {identifier}, the bulk import of ")
    assert question.endswith("remove 9 entries from the trust stores of source and put 0 back?")


def test_undo_counts_only_what_is_still_to_be_done(exchanged: Site, asked: list[str]) -> None:
    identifier = exchanged.bulk("source", "import", "--yes", "--json").json["undo"]
    entry = next(e for e in exchanged.source.trust_entries() if e.origin == "destination")
    exchanged.source.change_trust([TrustChange("remove", entry.store, entry.certificate)], action="delete")
    assert exchanged.bulk("source", "undo", identifier).code == 1
    assert "remove 8 entries" in asked[0]


def test_undo_of_what_cannot_be_undone_asks_nothing(exchanged: Site, asked: list[str]) -> None:
    identifier = exchanged.bulk("source", "import", "--yes", "--json").json["undo"]
    assert exchanged.bulk("source", "undo", identifier, "--yes").code == 0
    for unfit in (identifier, "no-such-change"):
        ended = exchanged.bulk("source", "undo", unfit, "--json")
        assert (ended.code, ended.error["code"]) == (2, "cluster.undo-impossible")
    assert asked == []


def test_removing_a_cluster_says_before_it_asks_what_it_will_remove(exchanged: Site, asked: list[str]) -> None:
    ended = exchanged.bulk("source", "remove-cluster", "destination", "--json")
    assert (ended.code, ended.error["code"]) == (1, "cli.declined")
    (question,) = asked
    assert question.startswith(
        "Remove the 5 files that destination exported (tomcat, tftp, capf, itlrecovery) from sftp://"
    )
    assert "destination" in exchanged.bulk("source", "list", "--json").json["clusters"]


def test_removing_a_cluster_that_has_no_file_there_asks_nothing(exchanged: Site, asked: list[str]) -> None:
    ended = exchanged.bulk("source", "remove-cluster", "nobody", "--json")
    assert (ended.code, ended.error["code"]) == (1, "bulk.cluster-not-in-directory")
    assert asked == []


def test_a_new_export_makes_the_consolidation_stale(exchanged: Site) -> None:
    assert certferry("cert", "regenerate", "tomcat", "--yes", "--cluster", exchanged.folder / "destination").code == 0
    assert exchanged.bulk("destination", "export").code == 0
    assert "consolidate again" in exchanged.bulk("source", "list").stdout
    ended = exchanged.bulk("source", "import", "--yes", "--json")
    assert (ended.code, ended.error["code"]) == (1, "bulk.consolidation-stale")


def test_a_pinned_signer_has_to_be_the_one_that_signed(exchanged: Site) -> None:
    signer = exchanged.bulk("source", "import", "--plan", "--json").json["signers"]["destination"]
    assert exchanged.bulk("source", "import", "--plan", "--expect", f"destination={signer}").code == 3
    wrong = exchanged.bulk("source", "import", "--plan", "--expect", f"destination={'0' * 64}", "--json")
    assert (wrong.code, wrong.error["code"]) == (1, "bulk.signer-unexpected")
    assert exchanged.bulk("source", "import", "--plan", "--expect", "destination").code == 2
    assert exchanged.bulk("source", "import", "--plan", "--foreign", "file=cluster:nothing").code == 2


@pytest.fixture
def with_foreign_file(exchanged: Site) -> list[str]:
    """A PKCS#12 of another product, with a password of its own, and how to import it."""
    signer = Cluster.open(exchanged.folder / "destination").identity(Purpose.TVS).certificate
    bundle = Bundle((BundledCertificate(signer, "pbx"),)).encode("sesame")
    (exchanged.exchange / "pbx.p12").write_bytes(bundle)
    return ["import", "--plan", "--accept-unsigned", "--foreign", "pbx.p12=pbx:tftp", "--json"]


def test_a_file_with_another_password_is_opened_with_the_one_given(
    exchanged: Site, with_foreign_file: list[str], tmp_path: Path
) -> None:
    refused = exchanged.bulk("source", *with_foreign_file)
    assert (refused.code, refused.error["code"]) == (1, "bulk.file-password")
    (tmp_path / "sesame").write_text("sesame\n")
    opened = exchanged.bulk("source", *with_foreign_file, "--pkcs12-password-file", tmp_path / "sesame")
    assert opened.code == 3
    assert {change["from_cluster"] for change in opened.json["changes"]} >= {"pbx"}


def test_on_a_terminal_its_password_is_asked_for(
    exchanged: Site, with_foreign_file: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(["wrong", "sesame"])
    monkeypatch.setattr(Output, "can_ask", property(lambda _: True))
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(typed))
    assert exchanged.bulk("source", *with_foreign_file).code == 3
    assert next(typed, None) is None


def with_expired(exchanged: Site, expired: Certificate, *also: Certificate) -> list[str]:
    """Make a PKCS#12 of another product hold what no store takes, and say how to import it."""
    held = Bundle(tuple(BundledCertificate(each, f"pbx-{place}") for place, each in enumerate((expired, *also))))
    (exchanged.exchange / "pbx.p12").write_bytes(held.encode("sesame"))
    (exchanged.folder / "sesame").write_text("sesame\n")
    words = ["--accept-unsigned", "--foreign", "pbx.p12=pbx:tomcat", "--pkcs12-password-file"]
    return ["import", *words, str(exchanged.folder / "sesame"), "--yes", "--json"]


LONG_AGO = datetime(2019, 1, 1, tzinfo=UTC)


def test_an_import_that_refuses_some_certificates_is_partly_done_however_often_it_runs(
    exchanged: Site, make_certificate: MakeCertificate
) -> None:
    expired = make_certificate("CN=pbx", not_before=LONG_AGO, not_after=LONG_AGO + timedelta(days=365))
    command = with_expired(exchanged, expired)
    first, second = exchanged.bulk("source", *command), exchanged.bulk("source", *command)
    assert (first.code, first.json["refused"], bool(first.json["undo"])) == (5, 1, True)
    assert (second.code, second.json["refused"], second.json["undo"]) == (5, 1, None)
    assert "1 certificates are refused" in second.stderr
    told = exchanged.bulk("source", *command[:-1]).stdout
    assert "Nothing to change: the trust stores hold all that they take already." in told
    assert exchanged.bulk("source", "import").code == 0, "without that file nothing is refused"


def test_an_import_of_which_everything_is_refused_has_failed(
    exchanged: Site, make_certificate: MakeCertificate
) -> None:
    for name in exchanged.exchange.iterdir():
        name.unlink()
    expired = make_certificate("CN=pbx", not_before=LONG_AGO, not_after=LONG_AGO + timedelta(days=365))
    command = with_expired(exchanged, expired)
    assert exchanged.bulk("source", *command).code == 1
    assert exchanged.bulk("source", *with_expired(exchanged, expired, make_certificate("CN=good"))).code == 5


def test_a_lock_held_by_somebody_else_ends_with_6_and_can_be_broken(exchanged: Site) -> None:
    held = json.loads(Lock.mine("destination", "consolidate", utc_now()).encode())
    held |= {"host": "other", "machine": "", "pid": 1}
    lock = exchanged.exchange / lock_name(None)
    lock.write_text(json.dumps(held))
    ended = exchanged.bulk("source", "consolidate", "--wait", 0, "--json")
    assert (ended.code, ended.error["code"]) == (6, "bulk.locked")
    assert "destination" in ended.error["sentence"]
    assert exchanged.bulk("source", "consolidate", "--break-lock").code == 0
    assert not lock.exists()


def test_a_cluster_can_be_taken_out_of_the_directory_again(exchanged: Site) -> None:
    assert exchanged.bulk("source", "remove-cluster", "destination").code == 2
    removed = exchanged.bulk("source", "remove-cluster", "destination", "--yes", "--json")
    assert removed.code == 0
    assert removed.json["removed"]
    assert "destination" not in exchanged.bulk("source", "list", "--json").json["clusters"]
    assert exchanged.bulk("source", "remove-cluster", "nobody", "--yes").code == 1


def test_every_bulk_command_needs_settings_first(site: Site) -> None:
    for words in (["export"], ["list"], ["consolidate"], ["import", "--plan"], ["remove-cluster", "x", "--yes"]):
        ended = site.bulk("source", *words, "--json")
        assert (ended.code, ended.error["code"]) == (2, "bulk.settings-missing")


@needs_sshd
def test_the_same_works_over_openssh_with_a_key(tmp_path: Path, key_pool: PooledKeys, background: Background) -> None:
    for name in ("source", "destination"):
        loopback_cluster(tmp_path / name, key_pool, name)
    with background.entered(running_sshd(tmp_path)) as server:
        settings = server.settings
        place = ["--host", settings.host, "--port", settings.port, "--user", settings.user]
        place += ["--directory", settings.directory, "--client-key", settings.client_key]
        place += ["--known-hosts", settings.known_hosts]
        for name in ("source", "destination"):
            assert certferry("bulk", "sftp", "--cluster", tmp_path / name, *place).code == 0
            assert certferry("bulk", "export", "--cluster", tmp_path / name).code == 0
        assert certferry("bulk", "consolidate", "--cluster", tmp_path / "source").code == 0
        assert certferry("bulk", "import", "--yes", "--cluster", tmp_path / "source").code == 0
        server.directory.chmod(0o500)
        full = certferry("bulk", "export", "--cluster", tmp_path / "source", "--json")
        server.directory.chmod(0o700)
    if settings.user != "root":  # nothing is read-only for root
        assert (full.code, full.error["code"]) == (1, "bulk.not-writable")
