"""A real browser for tests of the pages: Debian's Chromium, driven by Playwright, against servers with real TLS."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from certferry.cluster.accounts import Role
from certferry.cluster.cluster import Cluster
from certferry.web.app import create_app
from certferry.web.context import WebContext
from certferry.web.pages.language import Language, Words
from certferry.web.server import WebServer, listen, tls_context

if TYPE_CHECKING:
    from playwright import async_api as playwright
else:
    playwright = pytest.importorskip("playwright.async_api", reason="Playwright is not installed")
__all__ = ["Desk", "Publisher", "Window", "at_a_desk", "needs_chromium", "playwright", "serving"]

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "gates-of-dawn-1967"
PICTURES = os.environ.get("CERTFERRY_PICTURES")
"""A folder: set, the tests leave a picture of each step there (``tools/take_pictures.py``)."""
HIGHEST_PICTURE = 1700
# What is awaited comes when the machine gets to it; five seconds are too few for one that does much else.
PATIENCE = 90_000
playwright.expect.set_options(timeout=PATIENCE)
LAPTOP = playwright.ViewportSize(width=1280, height=800)


@dataclass
class Publisher:
    """A publisher's web server; ``ann`` may change things, ``bob`` may look."""

    cluster: Cluster
    context: WebContext
    url: str


@asynccontextmanager
async def serving(cluster: Cluster, *others: Cluster) -> AsyncIterator[Publisher]:
    """Run ``certferry web`` for a cluster, as the command does, on a free port."""
    context = WebContext(cluster, {other.name: other for other in others})
    context.passwords.hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    context.passwords.put_user("ann", Role.OPERATOR, PASSWORD)
    context.passwords.put_user("bob", Role.READ_ONLY, PASSWORD)
    server = WebServer(create_app(context), listen("127.0.0.1", 0), tls_context(cluster))
    running = asyncio.create_task(server.run_until_stopped())
    await server.ready.wait()
    try:
        yield Publisher(cluster, context, f"https://127.0.0.1:{server.port}")
    finally:
        server.stop()
        await running


@dataclass
class Window:
    """One person's browser at one publisher; what is amiss on any page is noted."""

    page: "playwright.Page"
    publisher: Publisher
    say: Words
    faults: list[str] = field(default_factory=list)

    async def go(self, *menu: str) -> None:
        """Choose from the menu by its words."""
        heading, entry = menu
        bar = self.page.get_by_role("navigation", name=self.say("menu.label"))
        await bar.get_by_text(self.say(heading), exact=True).click()
        await bar.get_by_role("link", name=self.say(entry), exact=True).click()

    async def log_in(self, name: str = "ann") -> None:
        await self.page.goto(self.publisher.url)
        await self.page.get_by_label(self.say("login.name")).fill(name)
        await self.page.get_by_label(self.say("login.password")).fill(PASSWORD)
        await self.page.get_by_role("button", name=self.say("login.submit")).click()
        await self.page.wait_for_url(f"{self.publisher.url}/show/cluster")

    async def press(self, key: str, **values: object) -> None:
        await self.page.get_by_role("button", name=self.say(key, **values), exact=True).click()

    async def sees(self, text: str) -> None:
        await playwright.expect(self.page.get_by_text(text).first).to_be_visible()

    async def picture(self, name: str, *, full: bool = True) -> None:
        """Leave a picture in light and in dark."""
        if not PICTURES:
            return
        for scheme in ("light", "dark"):
            await self.page.emulate_media(color_scheme=scheme)
            path = Path(PICTURES) / f"{name}.{self.say.language}.{scheme}.png"
            height = await self.page.evaluate("document.documentElement.scrollHeight") if full else LAPTOP["height"]
            clip = playwright.FloatRect(x=0, y=0, width=LAPTOP["width"], height=min(height, HIGHEST_PICTURE))
            await self.page.screenshot(path=path, animations="disabled", full_page=full, clip=clip if full else None)
        await self.page.emulate_media(color_scheme="light")

    async def overflows(self) -> Sequence[str]:
        """Name what sticks out of the window to the side."""
        found: list[str] = await self.page.evaluate(_STICKING_OUT)
        return found


_STICKING_OUT = """() => [...document.querySelectorAll("body *")]
  .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .filter(each => !each.closest(".wide, pre, .skip"))
  .map(each => `${each.tagName}.${each.className}`)"""


class Desk:
    """Where windows are opened; at the end nothing may have been amiss in any."""

    def __init__(self, browser: "playwright.Browser") -> None:
        self._browser = browser
        self.windows: list[Window] = []

    async def window(self, publisher: Publisher, language: Language = "en", *, scripts: bool = True) -> Window:
        locale = {"en": "en-GB", "ja": "ja-JP"}[language]
        context = await self._browser.new_context(
            ignore_https_errors=True, locale=locale, viewport=LAPTOP, java_script_enabled=scripts
        )
        context.set_default_timeout(PATIENCE)
        page = await context.new_page()
        opened = Window(page, publisher, Words(language))
        page.on("console", lambda message: _note_error(opened, message))
        page.on("pageerror", lambda error: opened.faults.append(str(error)))
        page.on("request", lambda request: _note_stranger(opened, request.url))
        self.windows.append(opened)
        return opened

    def check(self) -> None:
        """Nothing failed in a script, broke the policy, or was asked of another server."""
        for window in self.windows:
            # A browser logs each answer above 400 as an error; forms with wrong fields are answered so on purpose.
            assert [each for each in window.faults if "status of 4" not in each] == []


def _note_error(window: Window, message: "playwright.ConsoleMessage") -> None:
    if message.type == "error":
        window.faults.append(message.text)


def _note_stranger(window: Window, url: str) -> None:
    if not url.startswith((window.publisher.url, "data:")):
        window.faults.append(f"asked another server: {url}")


@asynccontextmanager
async def at_a_desk() -> AsyncIterator[Desk]:
    """Start the browser."""
    async with AsyncExitStack() as stack:
        driver = await stack.enter_async_context(playwright.async_playwright())
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE)
        stack.push_async_callback(browser.close)
        desk = Desk(browser)
        yield desk
        desk.check()
