"""Every page on a laptop and on a telephone: nothing sticks out or is cut off, and the keyboard reaches everything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from certferry.bulk.settings import SftpSettings
from certferry.cluster.accounts import Role
from certferry.cluster.cluster import Cluster
from certferry.cluster.migrations import Event, Migration, MigrationPhone, PhoneState, Progress, State, lease_of
from certferry.cluster.parameters import SECURITY_MODE
from certferry.cluster.sightings import Sighting, Step
from certferry.cluster.values import Node, Phone
from certferry.dhcp.kea import Kea
from certferry.dhcp.kea_undo import UndoRecord
from certferry.migrate.waves.choosing import Choice
from certferry.serve.lab_sftp import LabSftp
from certferry.web import waves
from certferry.web.pages.language import Language
from certferry.web.passwords import make_token
from conftest import MakeCluster, usual_nodes
from kea_double import KeaDouble
from web_browser import PICTURES, Publisher, Window, at_a_desk, needs_chromium, playwright, serving

pytestmark = [needs_chromium, pytest.mark.slow]
SECRET = "walrus-and-carpenter"
DEVICES = [f"SEP0000000000{n:02X}" for n in range(30)]
LAPTOP, TELEPHONE = playwright.ViewportSize(width=1280, height=800), playwright.ViewportSize(width=390, height=844)
RUNNER = "eve@elsewhere pid 1 x"
WAVES = "/migration/waves"


@dataclass
class Full:
    """A publisher's pages with something on each of them, and the addresses of all."""

    publisher: Publisher
    pages: list[str]


@asynccontextmanager
async def full_site(make_cluster: MakeCluster, folder: Path) -> AsyncIterator[Full]:
    (folder / "sftp" / "exchange").mkdir(parents=True)
    ssh = LabSftp(folder / "sftp", "carol", SECRET)
    await ssh.start()
    source = make_cluster("headquarters-production", nodes=_on_loopback("headquarters-production"), secure=True)
    destination = make_cluster("destination", "14", nodes=_on_loopback("destination"))
    host, port = ssh.address
    known = folder / "known"
    known.touch()
    for cluster in (source, destination):
        cluster.add_phones([Phone(device, description="Reception, building 7, third floor") for device in DEVICES])
        SftpSettings(host=host, port=port, user="carol", password=SECRET, directory="/exchange").save(cluster)
    _seen(source, destination)
    try:
        async with serving(source, destination) as here, serving(destination, source) as there:
            here.context.kea = Kea(KeaDouble(), UndoRecord(folder / "undo.json"))
            jobs = [*await _exchanged(here, there), await _reset(here)]
            source.set_parameter(SECURITY_MODE, "non-secure")
            yield Full(here, [*_pages(source), *jobs, *_migrations(here)])
    finally:
        await ssh.close()


def _on_loopback(name: str) -> list[Node]:
    """Nodes that nobody answers at, and that a verification may ask."""
    return [replace(node, address=f"127.7.7.{number}") for number, node in enumerate(usual_nodes(name, 3), 1)]


def _seen(source: Cluster, destination: Cluster) -> None:
    now = datetime.now(UTC)
    nodes = source.nodes()
    source.sightings.note([Sighting(d, Step.REGISTERED, now, nodes[0].name, "192.0.2.91") for d in DEVICES[:20]])
    destination.sightings.note([Sighting(DEVICES[0], Step.CTL, now, destination.nodes()[0].name, "192.0.2.91")])


async def _exchanged(here: Publisher, there: Publisher) -> list[str]:
    """Export on both sides, consolidate, plan and import; return the pages of the jobs."""
    done = [await _job(there, "bulk/test", accept_new_host_key=True), await _job(there, "bulk/export")]
    await _job(here, "bulk/test", accept_new_host_key=True)
    mine = [await _job(here, each) for each in ("bulk/export", "bulk/consolidate", "bulk/plan")]
    mine.append(await _job(here, "bulk/import", plan=mine[-1]["result"]["plan"]))
    assert {job["state"] for job in (*done, *mine)} == {"done"}
    undo = mine[-1]["result"]["undo"]
    failed = await _job(here, "bulk/plan", expect={"destination": "00" * 32})
    jobs = [f"/security/bulk/jobs/{job['id']}" for job in (*mine, failed)]
    names = {"source": [here.cluster.name], "destination": ["destination"]}
    looks = [await _job(here, kind, **names, timeout=0.5) for kind in ("verify", "rehearse")]
    return [*jobs, f"/security/bulk/undo/{undo}", *(f"/migration/jobs/{job['id']}" for job in looks)]


async def _reset(here: Publisher) -> str:
    """Ask phones to reset that nobody tells; return the page of what became of it."""
    job = await _job(here, "phones/reset?wait=0", devices=DEVICES)
    return f"/show/phones/resets/{job['id']}"


async def _job(publisher: Publisher, path: str, **wanted: Any) -> Any:
    token, text = make_token("tests", Role.OPERATOR, "ann", datetime.now(UTC), timedelta(hours=1))
    publisher.cluster.accounts.put_token(token)
    headers = {"authorization": f"Bearer {text}"}
    base = f"{publisher.url}/api/v1/"
    async with httpx.AsyncClient(base_url=base, verify=False, headers=headers, timeout=300) as client:
        job = (await client.post(path, json=wanted)).json()
        await client.get(f"jobs/{job['id']}/events")
        return (await client.get(f"jobs/{job['id']}")).json()


def _pages(cluster: Cluster) -> list[str]:
    tvs = next(each for each in cluster.identities() if each.purpose == "TVS")
    entry = next(each for each in cluster.trust_entries() if each.origin)
    csr = "/security/certificate/csr"
    return [
        "/show/cluster", "/show/phones", "/show/phones/reset?found=1", "/show/phones/resets", "/show/phones/add",
        f"/show/phones/remove?device={DEVICES[0]}", "/show/audit",
        "/security/certificates", "/security/certificates?expiry=90",
        f"/security/certificates/own/TVS/{tvs.certificate.sha256}",
        f"/security/certificates/trust/{entry.store.value}/{entry.certificate.sha256}",
        f"/security/certificates/trust/{entry.store.value}/{entry.certificate.sha256}/delete",
        f"/security/certificate/regenerate/TVS/{tvs.node}", csr, "/security/certificate/upload",
        "/security/bulk", "/security/bulk/export", "/security/bulk/history", "/security/trust-lists",
        "/security/trust-lists/CTL/cluster", "/security/trust-lists/CTL/cluster/delete",
        f"/security/trust-lists/ITL/{cluster.publisher.name}",
        "/settings/parameters", "/settings/users", "/settings/users/bob/delete", "/settings/tokens",
        "/migration", WAVES, f"{WAVES}/new", "/nowhere",
    ]  # fmt: skip


def _migrations(here: Publisher) -> list[str]:
    """One migration that is planned, one that paused with failures, and one under way."""
    sides = waves.pair_of(here.context, here.cluster.name, "destination")
    now, paths = datetime.now(UTC), list[str]()
    for some, state in ((DEVICES[:8], None), (DEVICES[8:20], State.PAUSED), (DEVICES[20:], State.RUNNING)):
        wish = waves.PlanWish(Choice(devices=some), canary=2, wave_size=4)
        made = waves.plan(sides, wish, now).migration
        if state is not None:
            _steer(here.cluster, made, state, now)
        paths.append(f"{WAVES}/{here.cluster.name}/{made.id}")
    return [*paths, *(f"{path}/phones" for path in paths), f"{paths[0]}/option150"]


def _steer(source: Cluster, made: Migration, state: State, now: datetime) -> None:
    ledger = source.migrations
    first, second, *_ = ledger.phones(made.id)
    moved = MigrationPhone(first.device, first.wave, PhoneState.MOVED, now, now, reason="registered")
    why = "it came back to the source: headquarters-production-pub"
    failed = MigrationPhone(second.device, second.wave, PhoneState.FAILED, now, now, "wave.came-back", why)
    told = {"step": "x", "done": "ann said that option 150 names 192.0.2.1, 192.0.2.2"}
    ledger.claim(made.id, lease_of(RUNNER, now, 600), now)
    paused = state if state is State.PAUSED else None
    ledger.record(
        made.id, RUNNER, Progress((moved, failed), (Event("option150", now, told),), paused, "a canary failed")
    )
    if paused:
        ledger.release(made.id, RUNNER)


@pytest.fixture
async def site(make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Full]:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with full_site(make_cluster, tmp_path) as made:
        yield made


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_nothing_sticks_out_overlaps_or_is_cut_off(site: Full, language: Language) -> None:
    amiss: list[str] = []
    async with at_a_desk() as desk:
        window = await desk.window(site.publisher, language)
        await window.log_in()
        for number, path in enumerate(site.pages):
            for size in (LAPTOP, TELEPHONE):
                await window.page.set_viewport_size(size)
                await window.page.goto(site.publisher.url + path, wait_until="load")
                found = await window.page.evaluate(_AMISS)
                amiss += [f"{path} at {size['width']}: {each}" for each in dict.fromkeys(found)]
                await _picture(
                    window, f"{number:02}-{path.split('?')[0].strip('/').replace('/', '-')[:40]}", size["width"]
                )
    assert not amiss, "\n".join(amiss)


async def test_every_menu_opens_inside_the_window(site: Full) -> None:
    async with at_a_desk() as desk:
        window = await desk.window(site.publisher)
        await window.log_in()
        for size in (LAPTOP, TELEPHONE):
            await window.page.set_viewport_size(size)
            for menu in await window.page.locator(".menu summary").all():
                await menu.click()
                found = await window.page.evaluate(_AMISS)
                assert [each for each in found if not each.startswith("overlap")] == []  # it covers what is below
                await menu.click()


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_dialogs_and_what_forms_answer_fit_a_telephone(site: Full, language: Language) -> None:
    async with at_a_desk() as desk:
        window = await desk.window(site.publisher, language)
        page, say, url = window.page, window.say, site.publisher.url
        await window.log_in()
        await page.set_viewport_size(TELEPHONE)
        await page.goto(f"{url}/security/bulk")
        await page.get_by_role("button", name=say("bulk.export"), exact=True).click()
        await playwright.expect(page.get_by_role("dialog", name=say("bulk.dialog-export"))).to_be_visible()
        assert await page.evaluate(_STICKING_OUT) == []
        await _picture(window, "dialog", TELEPHONE["width"], full=False)
        await page.keyboard.press("Escape")
        await page.goto(f"{url}{site.pages[-1]}")
        await page.get_by_role("textbox", name=say("option150.subnet"), exact=True).fill("198.51.100.0/24")
        await page.keyboard.press("Enter")
        await playwright.expect(page.get_by_text(say("option150.after"))).to_be_visible()
        assert await page.evaluate(_AMISS) == []
        await _picture(window, "option150", TELEPHONE["width"])


_STICKING_OUT = """() => [...document.querySelectorAll("dialog[open], dialog[open] *")]
  .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth)
  .map(each => each.outerHTML.slice(0, 80))"""


async def _picture(window: Window, name: str, width: int, *, full: bool = True) -> None:
    if PICTURES:
        await window.page.emulate_media(color_scheme="dark" if width == TELEPHONE["width"] else "light")
        path = Path(PICTURES) / f"{name}.{window.say.language}.{width}.png"
        await window.page.screenshot(path=path, animations="disabled", full_page=full)
        await window.page.emulate_media(color_scheme="light")


_AMISS = """() => {
  const found = [], root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push(`the page scrolls sideways: ${root.scrollWidth}`);
  const shown = each => each.checkVisibility({visibilityProperty: true}) && !each.closest(".skip");
  const name = each => `${each.tagName} ${each.className} ${(each.textContent || "").trim().slice(0, 30)}`;
  const all = [...document.querySelectorAll("body *")].filter(shown);
  for (const each of all) {
    const out = each.getBoundingClientRect().right > root.clientWidth + 1;
    if (out && !each.closest(".wide, pre")) found.push(`sticks out: ${name(each)}`);
    const style = getComputedStyle(each), lines = each.matches("td, tbody th") && each.clientWidth < 70;
    if (lines && each.clientHeight > 160) found.push(`cut into slivers: ${name(each)}`);
    const cut = style.overflowX === "hidden" || style.textOverflow === "ellipsis";
    if (cut && each.scrollWidth > each.clientWidth + 1) found.push(`cut off: ${name(each)}`);
  }
  const apart = all.filter(each => each.matches("a, button, input, select, textarea, summary, label, h1, h2"));
  const box = each => each.getBoundingClientRect();
  apart.forEach((one, at) => apart.slice(at + 1).forEach(other => {
    if (one.contains(other) || other.contains(one)) return;
    const a = box(one), b = box(other);
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    const inline = [one, other].some(each => getComputedStyle(each).display === "inline");
    if (wide > 1 && high > (inline ? 6 : 1)) found.push(`overlap: ${name(one)} and ${name(other)}`);
  }));
  for (const each of document.querySelectorAll(".wide, pre")) {
    if (each.scrollWidth > each.clientWidth && each.tabIndex < 0) found.push(`not scrolled by keys: ${name(each)}`);
  }
  return found;
}"""


async def test_the_keyboard_reaches_everything_and_shows_where_it_is(site: Full) -> None:
    amiss: list[str] = []
    async with at_a_desk() as desk:
        window = await desk.window(site.publisher)
        await window.log_in()
        for path in site.pages:
            await window.page.goto(site.publisher.url + path, wait_until="load")
            amiss += [f"{path}: {each}" for each in await window.page.evaluate(_UNREACHED)]
            amiss += [f"{path}: {each}" for each in await _tabbed(window)]
    assert not amiss, "\n".join(amiss)


_UNREACHED = """() => {
  const used = document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary");
  const unreached = [...used].filter(each => each.checkVisibility() && each.tabIndex < 0);
  return unreached.map(each => `not reached: ${each.outerHTML.slice(0, 80)}`);
}"""


async def _tabbed(window: Window) -> list[str]:
    """Press Tab twelve times and look at what has the focus each time."""
    unseen = []
    for _ in range(12):
        await window.page.keyboard.press("Tab")
        unseen += await window.page.evaluate(_FOCUS)
    return unseen


_FOCUS = """() => {
  const each = document.activeElement;
  if (!each || each === document.body) return [];
  const box = each.getBoundingClientRect(), style = getComputedStyle(each);
  const seen = box.width > 0 && box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight;
  const marked = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return seen && marked ? [] : [`focus not seen: ${each.outerHTML.slice(0, 80)}`];
}"""
