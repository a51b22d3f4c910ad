"""The pages in a real browser: the published procedure by clicks alone, and everything people do beside it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from certferry.bulk.settings import SftpSettings
from certferry.cluster.cluster import Cluster
from certferry.fleet.device import Device
from certferry.fleet.resident import ResidentPhone
from certferry.lab.keys import PooledKeys
from certferry.lab.lab import Lab, tftp_servers
from certferry.phone.flash import Flash
from certferry.web.pages.language import Language
from conftest import MakeCluster
from openssh import needs_sshd, running_sshd
from wave_lab import PATIENCE
from web_browser import Desk, Publisher, Window, at_a_desk, needs_chromium, playwright, serving

pytestmark = [needs_chromium, needs_sshd, pytest.mark.slow]
PHONES = 3


@dataclass
class Two:
    """Two clusters that serve phones, their publishers' pages, and the SFTP server both can reach."""

    lab: Lab
    source: Publisher
    destination: Publisher
    sftp: SftpSettings
    option150: list[tuple[str, int]]
    dhcp_answers: asyncio.Event
    desk: Desk

    async def all_registered(self, cluster: Cluster) -> None:
        """Wait until a cluster has registered every phone."""
        async with asyncio.timeout(120):
            while len(cluster.sightings.registered()) < PHONES:  # noqa: ASYNC110 -- other processes do it
                await asyncio.sleep(0.1)


@asynccontextmanager
async def two_clusters(folder: Path, keys: PooledKeys) -> AsyncIterator[Two]:
    async with Lab(folder, keys=keys, in_processes=True) as lab, running_sshd(folder) as ssh, at_a_desk() as desk:
        clusters = [lab.create_cluster(name, release, nodes=2, secure=True) for name, release in _RELEASES.items()]
        phones = lab.add_phones(clusters, PHONES)
        for cluster in clusters:
            await lab.start(cluster)
            _preset_key(cluster, ssh.settings)
        here, there = clusters
        option150, answers = list(tftp_servers(here)), asyncio.Event()
        answers.set()

        async def dhcp() -> Sequence[tuple[str, int]]:
            await answers.wait()
            return tuple(option150)

        devices = [Device(phone.device, Flash(), model=phone.model) for phone in phones]
        residents = [ResidentPhone(device, dhcp, patience=PATIENCE) for device in devices]
        living = [asyncio.create_task(phone.run()) for phone in residents]
        try:
            async with serving(here, there) as source, serving(there, here) as destination:
                yield Two(lab, source, destination, ssh.settings, option150, answers, desk)
        finally:
            for task in living:
                task.cancel()
            await asyncio.gather(*living, return_exceptions=True)


_RELEASES = {"source": "11.5.1", "destination": "14"}


def _preset_key(cluster: Cluster, settings: SftpSettings) -> None:
    """Give the login by key beforehand, which the form has no field for; everything else is typed."""
    replace(settings, host="sftp.invalid", user="nobody", directory="/nowhere", port=2222).save(cluster)


async def fill_in(window: Window, settings: SftpSettings) -> None:
    say, page = window.say, window.page
    typed = {"host": settings.host, "port": settings.port, "user": settings.user, "directory": settings.directory}
    for name, value in typed.items():
        await page.get_by_role("textbox", name=say(f"sftp.{name}"), exact=True).fill(str(value))
    await window.press("action.save")


async def bulk(window: Window, button: str) -> None:
    """Press a button of the page and the verb of its dialog; wait for the result."""
    say, page = window.say, window.page
    await window.go("menu.security", "menu.bulk")
    await page.get_by_role("button", name=say(f"bulk.{button}"), exact=True).click()
    dialog = page.get_by_role("dialog", name=say(f"bulk.dialog-{button}"))
    await playwright.expect(dialog).to_be_visible()
    await window.picture(f"{button}-dialog-{window.publisher.cluster.name}", full=False)
    await dialog.get_by_role("button", name=say(f"bulk.do-{button}"), exact=True).click()
    await page.wait_for_url("**/security/bulk/jobs/*")
    await playwright.expect(page.locator("[data-job]")).to_have_count(0, timeout=90_000)


async def import_(window: Window) -> None:
    """Look at the plan, then carry it out."""
    await bulk(window, "import")
    await window.sees(window.say("plan.signers"))
    await window.picture(f"import-plan-{window.publisher.cluster.name}")
    await window.page.locator("form[action$='/import'] button").click()
    await window.sees(window.say("done.undo-link"))
    await window.picture(f"import-done-{window.publisher.cluster.name}")


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_phones_move_after_the_published_procedure_was_clicked_through(
    tmp_path: Path, key_pool: PooledKeys, language: Language
) -> None:
    async with two_clusters(tmp_path, key_pool) as two:
        await two.all_registered(two.source.cluster)
        source = await two.desk.window(two.source, language)
        destination = await two.desk.window(two.destination, language)
        for window in (source, destination):
            await window.log_in()
            await window.go("menu.security", "menu.bulk")
            await window.sees(window.say("bulk.why-directory"))
            await fill_in(window, two.sftp)
            await window.sees(window.say("bulk.why-import-two", clusters=window.say("bulk.no-cluster")))
        await source.picture("bulk-empty")
        for window in (destination, source):
            await bulk(window, "export")
            await window.picture(f"export-done-{window.publisher.cluster.name}")
        await bulk(destination, "consolidate")
        await destination.picture("consolidate-done")
        for window in (destination, source):
            await import_(window)
        await source.go("menu.security", "menu.bulk")
        await source.picture("bulk-full")
        for cluster in (two.source.cluster, two.destination.cluster):
            await two.lab.settled(cluster)
        await verify(source)
        await waves(source, two)
        await look_around(source)
        await two.all_registered(two.destination.cluster)


async def verify(window: Window) -> None:
    """Run the verification from the console, and come back to a checklist that has only work by hand left."""
    say, page = window.say, window.page
    await window.go("menu.migration", "menu.console")
    await window.sees(say("step.verify"))
    await window.picture("console-before-verification")
    await window.press("migration.verify")
    await playwright.expect(page.get_by_text(say("verification.ok"))).to_be_visible(timeout=90_000)
    await window.picture("verification")
    await window.go("menu.migration", "menu.console")
    await playwright.expect(page.locator("ol.steps > li.by-hand").first).to_be_visible()
    assert await page.locator("ol.steps > li.next").count() == 0
    await window.picture("console")


async def waves(window: Window, two: Two) -> None:
    """Plan waves, set option 150, start, and look on until every phone has moved."""
    say, page = window.say, window.page
    await page.get_by_role("link", name=say("waves.plan"), exact=True).click()
    for name, value in (("canary", "1"), ("wave-size", "1"), ("between", "0"), ("pace", "2")):
        await page.get_by_role("textbox", name=say(f"waves.{name}")).fill(value)
    await window.picture("waves-plan")
    await window.press("waves.do-plan")
    await window.sees(say("waves.start-about"))
    await window.press("waves.do-start")
    await playwright.expect(page.get_by_role("checkbox", name=say("waves.option150"))).to_be_focused()
    await window.sees(say("waves.confirm-option150"))
    two.option150[:] = tftp_servers(two.destination.cluster)
    await page.get_by_role("checkbox", name=say("waves.option150")).check()
    await window.picture("waves-planned")
    two.dhcp_answers.clear()  # no phone gets on before the page was seen on which they do
    await window.press("waves.do-start")
    await playwright.expect(page.locator("[data-migration]")).to_be_visible(timeout=120_000)
    await window.picture("waves-running")
    two.dhcp_answers.set()
    await playwright.expect(page.get_by_text(say("waves.now-done"))).to_be_visible(timeout=120_000)
    await window.picture("waves-done")
    assert await window.overflows() == []
    await page.get_by_role("link", name=say("waves.all-phones"), exact=True).click()
    await playwright.expect(page.locator("tbody .badge.pass")).to_have_count(PHONES)
    await window.picture("waves-phones")
    async with page.expect_download() as download:
        await page.go_back()
        await page.get_by_role("link", name=say("waves.report"), exact=True).click()
    assert (await download.value).suggested_filename == "migration.html"


TOUR = {
    "cluster": "/show/cluster",
    "phones": "/show/phones",
    "audit": "/show/audit?verified=1",
    "parameters": "/settings/parameters",
    "users": "/settings/users",
    "tokens": "/settings/tokens",
    "waves": "/migration/waves",
    "waves-new": "/migration/waves/new",
    "certificates": "/security/certificates",
    "history": "/security/bulk/history",
    "trust-lists": "/security/trust-lists",
    "itl": "/security/trust-lists/ITL/source-pub",
    "csr": "/security/certificate/csr",
    "upload": "/security/certificate/upload",
    "regenerate": "/security/certificate/regenerate/CallManager/source-pub",
}


async def look_around(window: Window) -> None:
    """Visit the other pages; nothing sticks out of a laptop's window, nor out of a narrow one."""
    for name, path in TOUR.items():
        await window.page.goto(window.publisher.url + path)
        assert await window.overflows() == [], name
        await window.picture(name)
    await window.page.goto(window.publisher.url + "/security/certificates?store=Phone-SAST-trust&usage=trust")
    await window.page.locator("tbody th a").last.click()
    await window.picture("certificate")
    await window.page.get_by_role("link", name=window.say("action.delete"), exact=True).click()
    await window.picture("delete")
    await window.page.set_viewport_size({"width": 700, "height": 900})
    for path in (*TOUR.values(), "/security/bulk", "/migration"):
        await window.page.goto(window.publisher.url + path)
        assert await window.overflows() == [], path
    await window.picture("console-narrow")


# --- what people do beside the straight way


@dataclass
class One:
    """One publisher without nodes that run, and an SFTP server it can reach."""

    publisher: Publisher
    other: Cluster
    sftp: SftpSettings
    desk: Desk


@pytest.fixture
async def one(tmp_path: Path, make_cluster: MakeCluster) -> AsyncIterator[One]:
    source, destination = make_cluster("source", nodes=2), make_cluster("destination", "14", nodes=1)
    async with running_sshd(tmp_path) as ssh, serving(source) as publisher, at_a_desk() as desk:
        ssh.settings.save(source)
        yield One(publisher, destination, ssh.settings, desk)


async def test_a_wrong_field_gets_the_message_and_the_focus_and_keeps_what_was_typed(one: One) -> None:
    window = await one.desk.window(one.publisher)
    await window.log_in()
    await window.go("menu.security", "menu.bulk")
    for name, wrong in (("host", "999.1.1.1"), ("port", "70000"), ("user", ""), ("directory", "")):
        box = window.page.get_by_role("textbox", name=window.say(f"sftp.{name}"), exact=True)
        right = await box.input_value()
        await box.fill(wrong)
        await window.press("action.save")
        await playwright.expect(box).to_be_focused()
        await playwright.expect(box).to_have_value(wrong)
        await playwright.expect(box).to_have_attribute("aria-invalid", "true")
        described = await box.get_attribute("aria-describedby") or ""
        await playwright.expect(window.page.locator(f"#{described.split()[0]}")).to_be_visible()
        await window.picture(f"wrong-{name}")
        await box.fill(right)


async def test_a_double_click_starts_one_job_and_the_back_button_starts_none(one: One) -> None:
    window = await one.desk.window(one.publisher)
    page, say = window.page, window.say
    await window.log_in()
    await window.go("menu.security", "menu.bulk")
    await page.get_by_role("button", name=say("bulk.export"), exact=True).click()
    await page.get_by_role("dialog").get_by_role("button", name=say("bulk.do-export"), exact=True).dblclick()
    await window.sees(say("done.signed-by"))
    await page.go_back()
    await page.go_forward()
    await page.reload()
    await window.sees(say("done.signed-by"))
    exports = [line for line in await _jobs(window) if line["kind"] == "export"]
    assert len(exports) == 1


async def _jobs(window: Window) -> list[dict[str, str]]:
    """What the API says of the jobs, asked in the session of the page."""
    answer: dict[str, list[dict[str, str]]] = await window.page.evaluate(
        "fetch('/api/v1/jobs').then(answer => answer.json())"
    )
    return answer["items"]


async def test_who_may_only_look_finds_buttons_that_say_why_they_do_nothing(one: One) -> None:
    window = await one.desk.window(one.publisher)
    await window.log_in("bob")
    await window.go("menu.security", "menu.bulk")
    for button in ("export", "consolidate", "import"):
        found = window.page.get_by_role("button", name=window.say(f"bulk.{button}"), exact=True)
        await playwright.expect(found).to_have_attribute("aria-disabled", "true")
        await playwright.expect(found).to_have_accessible_description(window.say("bulk.why-read-only"))
    await playwright.expect(window.page.get_by_role("button", name=window.say("action.save"))).to_have_count(0)
    await window.picture("read-only")


async def test_the_exchange_is_run_with_the_keyboard_alone(one: One) -> None:
    window = await one.desk.window(one.publisher)
    page, say = window.page, window.say
    await page.goto(one.publisher.url)
    await tab_to(window, say("login.name"))
    await page.keyboard.type("ann")
    await page.keyboard.press("Tab")
    await page.keyboard.type("gates-of-dawn-1967")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{one.publisher.url}/show/cluster")
    await tab_to(window, say("menu.security"))
    await page.keyboard.press("Enter")
    await tab_to(window, say("menu.bulk"))
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/security/bulk")
    await tab_to(window, say("bulk.export"))
    await page.keyboard.press("Enter")
    await playwright.expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await playwright.expect(page.get_by_role("dialog")).to_have_count(0)
    assert await focused(window) == say("bulk.export")
    await page.keyboard.press("Space")
    await playwright.expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.type("TFTP")
    await page.keyboard.press("Tab")
    assert await focused(window) == say("bulk.do-export")
    await page.keyboard.press("Enter")
    await window.sees(say("done.signed-by"))


async def tab_to(window: Window, name: str) -> None:
    """Press Tab until what is called so has the focus; the ring around it has to be seen."""
    for _ in range(60):
        await window.page.keyboard.press("Tab")
        if await focused(window) == name:
            ring = await window.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert ring == "solid"
            return
    raise AssertionError(f"the keyboard does not reach {name!r}")


async def focused(window: Window) -> str:
    """The name of what has the focus."""
    name: str = await window.page.evaluate(
        "(document.activeElement.labels?.[0] ?? document.activeElement).innerText.replace('*', '').trim()"
    )
    return name


async def test_everything_works_without_scripts(one: One) -> None:
    window = await one.desk.window(one.publisher, "ja", scripts=False)
    page, say = window.page, window.say
    await window.log_in()
    await window.go("menu.security", "menu.bulk")
    await page.get_by_role("button", name=say("bulk.export"), exact=True).click()
    await page.wait_for_url("**/security/bulk/export")
    await window.press("bulk.do-export")
    await window.sees(say("done.signed-by"))


async def test_the_menu_closes_on_escape_and_a_click_elsewhere(one: One) -> None:
    window = await one.desk.window(one.publisher)
    await window.log_in()
    bar = window.page.get_by_role("navigation", name=window.say("menu.label"))
    entry = bar.get_by_role("link", name=window.say("menu.bulk"))
    await bar.get_by_text(window.say("menu.security"), exact=True).click()
    await playwright.expect(entry).to_be_visible()
    await window.page.keyboard.press("Escape")
    await playwright.expect(entry).to_be_hidden()
    await bar.get_by_text(window.say("menu.security"), exact=True).click()
    await window.page.locator("h1").click()
    await playwright.expect(entry).to_be_hidden()


async def test_the_language_is_switched_where_one_is(one: One) -> None:
    window = await one.desk.window(one.publisher)
    await window.log_in()
    await window.page.goto(f"{one.publisher.url}/security/certificates?store=tomcat")
    await window.page.get_by_role("link", name="日本語").click()
    await playwright.expect(window.page.get_by_role("heading", level=1)).to_have_text("証明書の一覧")
    assert "store=tomcat" in window.page.url
    await playwright.expect(window.page.locator("html")).to_have_attribute("lang", "ja")
