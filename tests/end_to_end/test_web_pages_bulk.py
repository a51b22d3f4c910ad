"""Bulk Certificate Management on the pages: the SFTP form against a real server, buttons, jobs, undo; no browser."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from certferry.bulk.files import lock_name
from certferry.bulk.lock import Lock, utc_now
from certferry.bulk.settings import SftpSettings
from certferry.cluster.values import Phone
from certferry.serve.lab_sftp import LabSftp
from certferry.web.sessions import IDLE
from conftest import MakeCluster
from sftp_servers import lab_sftp
from web_pages import Drawn, Reader, reading
from web_site import PASSWORD, Site

BULK = "/security/bulk"
SETTINGS = f"{BULK}/settings"
SECRET = "walrus-and-carpenter"


@pytest.fixture
async def sftp(tmp_path: Path) -> AsyncIterator[LabSftp]:
    async with lab_sftp(tmp_path / "sftp", "carol", SECRET) as serving:
        yield serving


@pytest.fixture
def sites(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Site, Site]:
    monkeypatch.setenv("HOME", str(tmp_path))
    source, destination = make_cluster("source", nodes=2), make_cluster("destination", "14", nodes=2)
    for cluster in (source, destination):
        cluster.add_phones([Phone("SEP001B54000001")])
    return Site(source, {"destination": destination}), Site(destination, {"source": source})


def typed(sftp: LabSftp, **other: str) -> dict[str, str]:
    host, port = sftp.address
    right = {"host": host, "port": str(port), "user": "carol", "password": SECRET, "directory": "/exchange"}
    return right | other


async def save(reader: Reader, sftp: LabSftp) -> Drawn:
    """Fill in the form, compare the host key, save."""
    asked = await reader.send(await reader.open(BULK), SETTINGS, **typed(sftp))
    accepted = typed(sftp, password="") | {"host-key": sftp.fingerprint}
    return await reader.send(asked, SETTINGS, **accepted)


async def idle(site: Site) -> None:
    """Follow every job to its end; the server goes on."""
    for job in (await site.app.state.jobs.latest()).items:
        async for _ in site.app.state.jobs.events(job.id):
            pass


async def press(site: Site, reader: Reader, button: str, kind: str = "all") -> Drawn:
    job = await reader.send(await reader.open(f"{BULK}/{button}"), f"{BULK}/{button}", type=kind)
    await idle(site)
    return await reader.open(job.path)


# --- the form


async def test_an_unknown_host_key_is_shown_and_accepted_without_typing_the_password_again(
    sites: tuple[Site, Site], sftp: LabSftp
) -> None:
    async with reading(sites[0]) as reader:
        asked = await reader.send(await reader.open(BULK), SETTINGS, **typed(sftp))
        assert "SHA256:" in asked.error_beside("host-key")
        assert SECRET not in asked.answer.text
        assert "What you typed is remembered" in asked.text
        done = await reader.send(asked, SETTINGS, **(typed(sftp, password="") | {"host-key": sftp.fingerprint}))
        assert "Update successful." in done.text
        assert "The directory is empty." in done.text
    saved = SftpSettings.load(sites[0].cluster)
    assert (saved.user, saved.password, saved.directory) == ("carol", SECRET, "/exchange")
    assert SECRET not in "".join(sites[0].cluster.audit_lines())


async def test_only_the_fingerprint_that_was_shown_is_accepted(sites: tuple[Site, Site], sftp: LabSftp) -> None:
    async with reading(sites[0]) as reader:
        asked = await reader.send(await reader.open(BULK), SETTINGS, **typed(sftp))
        shown = next(values["value"] for _, values in asked.tags if values.get("name") == "host-key")
        assert shown == sftp.fingerprint
        other = await reader.send(asked, SETTINGS, **typed(sftp, password=""), **{"host-key": "SHA256:of-another"})
        assert sftp.fingerprint in other.error_beside("host-key")
        assert "checked" not in next(values for _, values in other.tags if values.get("name") == "host-key")
    assert sites[0].cluster.setting("sftp.host") is None


async def test_a_ticked_host_key_stays_ticked_while_something_else_is_wrong(
    sites: tuple[Site, Site], sftp: LabSftp
) -> None:
    async with reading(sites[0]) as reader:
        wrong = typed(sftp, password="wrong") | {"host-key": sftp.fingerprint}
        after = await reader.send(await reader.open(BULK), SETTINGS, **wrong)
        box = next(values for _, values in after.tags if values.get("name") == "host-key")
        assert ("checked" in box, box["value"]) == (True, sftp.fingerprint)
        done = await reader.send(after, SETTINGS, **typed(sftp), **{"host-key": box["value"]})
        assert "Update successful." in done.text


async def test_what_to_do_with_a_host_key_is_told_in_words_of_the_page(sites: tuple[Site, Site], sftp: LabSftp) -> None:
    async with reading(sites[0]) as reader:
        asked = await reader.send(await reader.open(BULK), SETTINGS, **typed(sftp))
    assert "tick the box and save again." in asked.error_beside("host-key")
    assert "--accept-new-host-key" not in asked.text


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"host": ""}, "host"),
        ({"host": "999.1.1.1"}, "host"),
        ({"host": "not a host"}, "host"),
        ({"port": ""}, "port"),
        ({"port": "0"}, "port"),
        ({"port": "65536"}, "port"),
        ({"port": "twenty-two"}, "port"),
        ({"port": "\u0661"}, "port"),
        ({"user": ""}, "user"),
        ({"user": "mallory"}, "password"),
        ({"password": ""}, "password"),
        ({"password": "wrong"}, "password"),
        ({"directory": ""}, "directory"),
        ({"directory": "/nowhere"}, "directory"),
    ],
)
async def test_what_is_wrong_is_told_beside_its_field_and_nothing_is_lost(
    sites: tuple[Site, Site], sftp: LabSftp, wrong: dict[str, str], field: str
) -> None:
    sent = typed(sftp, **wrong) | {"host-key": sftp.fingerprint}
    async with reading(sites[0]) as reader:
        after = await reader.send(await reader.open(BULK), SETTINGS, **sent)
    assert after.status == 422
    assert after.error_beside(field)
    values = after.form(SETTINGS).values
    assert {name: values[name] for name in ("host", "port", "user", "directory")} == {
        name: sent[name] for name in ("host", "port", "user", "directory")
    }
    assert sites[0].cluster.setting("sftp.host") is None


async def test_a_port_where_nobody_listens_is_told_beside_the_address(sites: tuple[Site, Site], sftp: LabSftp) -> None:
    await sftp.close()
    async with reading(sites[0], language="ja") as reader:
        after = await reader.send(await reader.open(BULK), SETTINGS, **typed(sftp))
    assert "ファイアウォール" in after.error_beside("host")


async def test_saved_settings_are_kept_when_the_password_is_left_empty(sites: tuple[Site, Site], sftp: LabSftp) -> None:
    async with reading(sites[0]) as reader:
        after = await save(reader, sftp)
        assert "Leave it empty to keep the saved password" in after.text
        done = await reader.send(after, SETTINGS)
        assert "Update successful." in done.text
    assert SftpSettings.load(sites[0].cluster).password == SECRET


async def test_a_saved_password_is_never_sent_to_another_server(sites: tuple[Site, Site], sftp: LabSftp) -> None:
    async with reading(sites[0]) as reader:
        after = await save(reader, sftp)
        moved = await reader.send(after, SETTINGS, host="127.0.0.9")
    assert moved.error_beside("password") == "✗ Fill in this field."


# --- the buttons


async def test_buttons_are_offered_by_the_rules_with_the_reason_while_they_are_not(
    sites: tuple[Site, Site], sftp: LabSftp
) -> None:
    source, destination = sites
    async with reading(source) as here, reading(destination) as there:
        assert "Save the SFTP settings first." in (await here.open(BULK)).text
        await save(there, sftp)
        drawn = await save(here, sftp)
        assert "so far: none." in drawn.text
        await press(destination, there, "export")
        drawn = await here.open(BULK)
        assert "Exported so far: destination." in drawn.text
        assert f"{BULK}/consolidate" not in drawn.links
        await press(source, here, "export")
        drawn = await here.open(BULK)
        assert f"{BULK}/consolidate" in drawn.links
        assert "Offered once everything exported is consolidated." in drawn.text
        await press(source, here, "consolidate")
        assert f"{BULK}/import" in (await there.open(BULK)).links
        await press(destination, there, "export", "tftp")
        assert "out of date" in (await here.open(BULK)).text


async def test_an_import_shows_the_plan_happens_once_and_is_undone(sites: tuple[Site, Site], sftp: LabSftp) -> None:
    source, destination = sites
    async with reading(source) as here, reading(destination) as there:
        await save(here, sftp)
        await save(there, sftp)
        await press(destination, there, "export")
        exported = await press(source, here, "export")
        assert "Successfully exported" in exported.text
        assert (
            "Successfully consolidated the certificates of destination, source."
            in (await press(source, here, "consolidate")).text
        )
        held = source.cluster.trust_entries()
        plan = await press(source, here, "import")
        assert "would change this cluster's trust stores. Nothing has changed yet." in plan.text
        assert source.cluster.trust_entries() == held
        skipped = await here.open(f"{plan.path}?action=skip&size=25&page=1")
        assert [tag for tag, values in skipped.tags if values.get("class") == "plan-add"] == []
        assert "plan-skip" in {values.get("class") for _, values in skipped.tags}
        for _ in range(3):
            await here.post(plan, f"{plan.path}/import")
        await idle(source)
        assert len(source.cluster.history()) == 1
        assert len(source.cluster.trust_entries()) > len(held)
        again = await press(source, here, "import")
        assert "Nothing to do" in again.text
        drawn = await here.open(BULK)
        undo = next(link for link in drawn.links if "/undo/" in link)
        after = await here.send(await here.open(undo), undo)
        assert "was taken back" in after.text
    assert source.cluster.trust_entries() == held


async def test_what_a_lock_stood_in_the_way_of_is_repeated_from_its_page_with_the_lock_broken(
    sites: tuple[Site, Site], sftp: LabSftp, tmp_path: Path
) -> None:
    elsewhere = replace(Lock.mine("source", "export", utc_now()), machine="gone", host="gone.example")
    async with reading(sites[0]) as reader, reading(sites[0], "bob") as looker:
        await save(reader, sftp)
        (lock_file,) = [folder / lock_name("source") for folder in (tmp_path / "sftp").rglob("exchange")]
        lock_file.write_bytes(elsewhere.encode())
        refused = await press(sites[0], reader, "export", "tftp")
        assert "gone.example" in refused.text
        assert "If that process is gone for good" in refused.text
        assert f"{BULK}/export" not in [form.action for form in (await looker.open(refused.path)).forms]
        assert lock_file.exists()

        again = await reader.send(refused, f"{BULK}/export")
        await idle(sites[0])
        done = await reader.open(again.path)
        assert "Successfully exported" in done.text
        assert again.path != refused.path
        assert not lock_file.exists()
    assert [file.name for file in lock_file.parent.glob("*.p12") if "_tftp" not in file.name] == []
    (note,) = [line for line in sites[0].cluster.audit_lines() if "bulk export" in line]
    assert '"break_lock": true' in note


async def test_an_import_goes_on_when_the_session_ends_and_its_result_is_found_after_the_login(
    sites: tuple[Site, Site], sftp: LabSftp
) -> None:
    source, destination = sites
    async with reading(source) as here, reading(destination) as there:
        await save(here, sftp)
        await save(there, sftp)
        await press(destination, there, "export")
        await press(source, here, "export")
        await press(source, here, "consolidate")
        plan = await press(source, here, "import")
        job = (await here.post(plan, f"{plan.path}/import")).headers["location"]
        source.clock.pass_by(seconds=IDLE.total_seconds() + 1)
        await idle(source)
        login = await here.open(job)
        assert login.path == "/login"
        result = await here.send(login, "/login", name="ann", password=PASSWORD)
        assert result.path == job
        assert "Successfully imported" in result.text
        late = await here.send(plan, f"{plan.path}/import")
        assert late.status in (200, 403)
    assert len(source.cluster.history()) == 1


async def test_a_form_sent_twice_starts_one_job(sites: tuple[Site, Site], sftp: LabSftp) -> None:
    async with reading(sites[0]) as reader:
        await save(reader, sftp)
        asked = await reader.open(f"{BULK}/export")
        places = {(await reader.post(asked, f"{BULK}/export", type="all")).headers["location"] for _ in range(3)}
        await idle(sites[0])
        places.add((await reader.post(asked, f"{BULK}/export", type="all")).headers["location"])
    assert len(places) == 1


async def test_a_type_that_does_not_exist_is_told(sites: tuple[Site, Site], sftp: LabSftp) -> None:
    async with reading(sites[0]) as reader:
        await save(reader, sftp)
        after = await reader.send(await reader.open(f"{BULK}/export"), f"{BULK}/export", type="everything")
    assert after.status == 422
    assert "Choose one of the entries." in after.text


async def test_a_job_that_fails_tells_code_and_remedy(sites: tuple[Site, Site], sftp: LabSftp) -> None:
    async with reading(sites[0], language="ja") as reader:
        await save(reader, sftp)
        failed = await press(sites[0], reader, "import")
    assert "bulk.not-consolidated" in failed.text
    assert "統合してから、インポートしてください" in failed.text


async def test_who_may_only_look_sees_the_files_and_no_button(sites: tuple[Site, Site], sftp: LabSftp) -> None:
    async with reading(sites[0]) as reader:
        await save(reader, sftp)
    async with reading(sites[0], "bob") as reader:
        drawn = await reader.open(BULK)
        assert "The directory is empty." in drawn.text
        assert drawn.text.count("Your role is read-only.") == 3
        for button in ("export", "consolidate", "import"):
            answer = await reader.send(await reader.open(f"{BULK}/{button}"), f"{BULK}/{button}", type="all")
            assert answer.status == 403
    assert (await sites[0].app.state.jobs.latest()).total == 0


async def test_a_job_nobody_remembers_is_told_so(sites: tuple[Site, Site]) -> None:
    async with reading(sites[0]) as reader:
        drawn = await reader.open(f"{BULK}/jobs/0123456789abcdef")
    assert drawn.status == 404
    assert "web.job-unknown" in drawn.text
