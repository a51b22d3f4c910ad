"""Reading what certferry itself wrote: the JSON of rehearse, verify, trustlist verify, demo or a migration record.

Nothing is expected of the object's shape: whatever in it has a ``verdict`` is a check, whatever has a ``code`` next
to an ``outcome`` is a phone, next to a ``certainty`` an earlier diagnosis, a known code as a key with a number is a
count, an ``error`` is a refusal.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from certferry.migrate.causes import causes, find_cause, refusals
from certferry.migrate.signs import Certainty, Observation, cause_of_check, clip

_WEIGHT = {"fail": Certainty.CERTAIN, "warn": Certainty.POSSIBLE}
_MOVED = ("would-migrate", "migrated", "registered")
_WORD = re.compile(r"(?<![\w./-])[a-z][a-z0-9]*\.[a-z][a-z0-9-]*(?![\w./-])")
_RECORD = re.compile(r"[\ufeff\s]*(?:\{|\[\s*[\[{\]])")
_UNKNOWN_CHECK = "check:"


def looks_like_record(beginning: str) -> bool:
    """Whether a text may be JSON, by its beginning; a log's ``[8:52:30am ...]`` is none."""
    return bool(_RECORD.match(beginning))


def parse_record(text: str) -> Any | None:
    """Return the JSON value that the text is, or None when it is something else."""
    if not looks_like_record(text):
        return None
    try:
        return json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return None


def read_record(value: Any, device: str = "") -> Iterator[Observation]:
    """Find what a record says failed; with ``device`` only what is about that phone, or about none."""
    for found in _objects(value, device):
        if "verdict" in found:
            yield from _check(found)
        elif "certainty" in found:
            yield from _diagnosed(found)
        elif "outcome" in found or isinstance(found.get("code"), str):
            yield from _ended(found)
        yield from _counted(found)


def devices_in(value: Any) -> tuple[str, ...]:
    """Name the phones that a record is about, each once, as they come."""
    names = (found.get("device") for found in _objects(value))
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def read_codes(line: str) -> Iterator[Observation]:
    """Find codes of certferry in a line of text that somebody copied from it."""
    for word in _WORD.findall(line):
        if word in causes() or word in refusals():
            yield Observation({word: Certainty.CERTAIN}, clip(line))


def code_of_check(identifier: str, title: str = "") -> str:
    """Return the cause a check stands for, which may depend on the side its title begins with.

    A check that is in no table stands for itself.
    """
    side = title.split(maxsplit=1)[0].rstrip(":") if title.strip() else ""
    known = cause_of_check().get(f"{identifier}@{side}") or cause_of_check().get(identifier)
    return known or (identifier if find_cause(identifier) else _UNKNOWN_CHECK + identifier)


def _objects(value: Any, device: str = "") -> Iterator[Mapping[str, Any]]:
    """Find every object, whatever it lies in; with ``device`` nothing that is about another phone."""
    waiting = [value]
    while waiting:
        taken = waiting.pop()
        if isinstance(taken, dict):
            if device and taken.get("device", device) != device:
                continue
            yield taken
            waiting.extend(reversed(list(taken.values())))
        elif isinstance(taken, list):
            waiting.extend(reversed(taken))


def _check(found: Mapping[str, Any]) -> Iterator[Observation]:
    weight = _WEIGHT.get(str(found["verdict"]))
    if weight:
        told, evidence = _text(found, "title"), _text(found, "evidence")
        facts = {"remedy": _text(found, "remedy")} if found.get("remedy") else {}
        code = code_of_check(_text(found, "id"), told)
        yield Observation({code: weight}, clip(f"{told}: {evidence}"), facts=facts)


def _diagnosed(found: Mapping[str, Any]) -> Iterator[Observation]:
    """A diagnosis that was made before is as sure as it was then."""
    code, certainty, evidence = _text(found, "code"), _text(found, "certainty"), found.get("evidence")
    if find_cause(code) and certainty in set(Certainty):
        for line in evidence if isinstance(evidence, list) else [_text(found, "cause")]:
            yield Observation({code: Certainty(certainty)}, clip(str(line)))


def _ended(found: Mapping[str, Any]) -> Iterator[Observation]:
    code, device = _text(found, "code"), _text(found, "device")
    if not code and found.get("outcome") in _MOVED:
        code = "phone.registered"
    if find_cause(code):
        told = _text(found, "reason") or _text(found, "sentence") or code
        facts = {"device": device} if device else {}
        remedy = {"remedy": _text(found, "remedy")} if found.get("remedy") else {}
        sure = Certainty.POSSIBLE if found.get("outcome") == "unknown" else Certainty.CERTAIN
        evidence = clip(f"{device}: {told}" if device else told)
        yield Observation({code: sure}, evidence, facts=facts | remedy)


def _counted(found: Mapping[str, Any]) -> Iterator[Observation]:
    for key, count in found.items():
        if isinstance(count, int) and count and key in causes():
            yield Observation({key: Certainty.CERTAIN}, f"{count} phones ended with {key}")


def _text(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""
