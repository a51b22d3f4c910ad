"""A browser without scripts for tests of the pages: opens addresses, reads what is drawn, fills in and sends forms."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx

from web_site import PASSWORD, Site

LEFT_OVER = re.compile(r"\{[a-z_]+\}|\{\{|\bNone\b|<bound method|Undefined")
VOID = frozenset({"input", "meta", "link", "br", "img", "hr"})


@dataclass
class DrawnForm:
    """A form as drawn: where it goes, and the values it would send as it is."""

    action: str
    method: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass
class Drawn:
    """What was answered, read."""

    answer: httpx.Response
    forms: list[DrawnForm] = field(default_factory=list)
    text: str = ""
    links: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return self.answer.status_code

    @property
    def path(self) -> str:
        return self.answer.url.path

    def form(self, action: str) -> DrawnForm:
        found = [form for form in self.forms if form.action == action]
        assert found, f"no form goes to {action}: {[form.action for form in self.forms]}"
        return found[0]

    def error_beside(self, name: str) -> str:
        """The message that the field's description points to."""
        identifiers = [values.get("id") for _, values in self.tags]
        assert f"{name}-error" in identifiers, f"no error beside {name}"
        field_tag = next(values for tag, values in self.tags if values.get("id") == name and tag in ("input", "select"))
        assert field_tag["aria-invalid"] == "true"
        assert f"{name}-error" in field_tag["aria-describedby"].split()
        start = self.answer.text.index(f'id="{name}-error"')
        return _text(self.answer.text[start:].split("</p>")[0].partition(">")[2])


class _Reader(HTMLParser):
    def __init__(self, drawn: Drawn) -> None:
        super().__init__()
        self.drawn, self.open_select, self.parts = drawn, "", list[str]()
        self.chooses_one = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.drawn.tags.append((tag, values))
        if tag == "a":
            self.drawn.links.append(values.get("href", ""))
        if tag == "form":
            self.drawn.forms.append(DrawnForm(values.get("action", ""), values.get("method", "get")))
        if not self.drawn.forms:
            return
        sent = self.drawn.forms[-1].values
        if tag == "input" and values.get("type") not in ("file", "submit") and "name" in values:
            if values.get("type") != "checkbox" or "checked" in values:
                sent[values["name"]] = values.get("value", "")
        elif tag == "select":
            self.open_select, self.chooses_one = values["name"], "multiple" not in values
        elif tag == "option" and ("selected" in values or (self.open_select not in sent and self.chooses_one)):
            sent[self.open_select] = values.get("value", "")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def read(answer: httpx.Response) -> Drawn:
    drawn = Drawn(answer)
    reader = _Reader(drawn)
    reader.feed(answer.text)
    drawn.text = " ".join(" ".join(reader.parts).split())
    return drawn


def _text(html: str) -> str:
    drawn = Drawn(httpx.Response(200))
    reader = _Reader(drawn)
    reader.feed(html)
    return " ".join(" ".join(reader.parts).split())


@dataclass
class Reader:
    """Somebody at a browser."""

    client: httpx.AsyncClient

    async def open(self, path: str) -> Drawn:
        return read(await self.client.get(path, follow_redirects=True))

    async def send(self, drawn: Drawn, action: str, *, files: Any = None, **typed: str) -> Drawn:
        """Fill in the form that goes to ``action`` and send it; follow to the page after it."""
        answer = await self.post(drawn, action, files=files, **typed)
        while answer.is_redirect:
            answer = await self.client.get(answer.headers["location"])
        return read(answer)

    async def post(self, drawn: Drawn, action: str, *, files: Any = None, **typed: str) -> httpx.Response:
        """The same, but stay at the answer to the form itself."""
        values = drawn.form(action).values | {name.replace("_", "-"): value for name, value in typed.items()}
        values |= {"csrf_token": drawn.form(action).values["csrf_token"]}
        sent = {name: (f"{name}.pem", data) for name, data in (files or {}).items()}
        return await self.client.post(action, data=values, files=sent or None)


@asynccontextmanager
async def reading(site: Site, name: str = "ann", language: str = "en") -> AsyncIterator[Reader]:
    """Log in as a person does."""
    async with site.visitor(**{"accept-language": language}) as client:
        reader = Reader(client)
        login = await reader.open("/login")
        await reader.send(login, "/login", name=name, password=PASSWORD)
        yield reader


def faults(drawn: Drawn) -> Iterator[str]:
    """What a reader, a screen reader or a strict browser would stumble over."""
    yield from LEFT_OVER.findall(drawn.text)
    identifiers = [values["id"] for _, values in drawn.tags if "id" in values]
    yield from (f"id {each} twice" for each in set(identifiers) if identifiers.count(each) > 1)
    labelled = {values.get("for") for tag, values in drawn.tags if tag == "label"}
    for tag, values in drawn.tags:
        shown = tag in ("input", "select", "textarea") and values.get("type") != "hidden"
        if shown and values.get("id") not in labelled:
            yield f"{tag} {values.get('name')} has no label"
        if "style" in values or any(name.startswith("on") for name in values):
            yield f"{tag} has an inline style or script"
        if tag == "th" and "scope" not in values:
            yield "a table heading has no scope"
        for name in ("src", "href", "action"):
            if not values.get(name, "/").startswith(("/", "#", "?")):
                yield f"{tag} asks another server: {values[name]}"
        for name in ("aria-describedby", "aria-labelledby"):
            yield from (
                f"{each} is described nowhere" for each in values.get(name, "").split() if each not in identifiers
            )
    tags = [tag for tag, _ in drawn.tags]
    yield from (f"{tags.count(each)} times {each}" for each in ("h1", "main", "title") if tags.count(each) != 1)
