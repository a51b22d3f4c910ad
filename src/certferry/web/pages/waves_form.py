"""The form of a plan in waves: read field by field, each fault told beside its field, nothing lost."""

import re
from collections.abc import Mapping

from certferry.errors import Refusal
from certferry.migrate.waves.choosing import Choice
from certferry.migrate.waves.planning import WAVE, Rules, Threshold
from certferry.web.context import WebContext
from certferry.web.pages.forms import Form
from certferry.web.pages.language import Words
from certferry.web.waves import PlanWish, device_names

_DEFAULTS = Rules()
LARGEST_WAVE = 100_000
LONGEST_SECONDS = 86_400
FASTEST = 1000


def empty_form(context: WebContext, query: Mapping[str, str]) -> Form:
    """Fill the form with what is mostly meant: from here to the first other cluster, all phones."""
    names = [cluster.name for cluster in context.clusters]
    source = query.get("source", "")
    source = source if source in names else names[0]
    others = [name for name in names if name != source]
    destination = query.get("destination", "")
    values = {
        "source": source,
        "destination": destination if destination in others else next(iter(others), ""),
        "everything": "1",
        "percent": "100",
        "wave-size": str(WAVE),
        "pace": f"{_DEFAULTS.pace:g}",
        "between": f"{_DEFAULTS.between:g}",
        "patience": f"{_DEFAULTS.patience:g}",
        "stop-at": str(_DEFAULTS.stop_at),
    }
    return Form(values)


def read_plan(form: Form, say: Words) -> PlanWish:
    """Read the form; what is wrong stands in ``form.errors``, and then the wish means nothing."""
    devices = _devices(form, say)
    groups = [name for name in form["groups"].splitlines() if name]
    everything = form.has("everything")
    if not (everything or groups or devices or form.errors):
        form.refuse("everything", say("waves.choose-some"))
    percent = _whole(form, say, "percent", 1, 100)
    size, canary = _whole(form, say, "wave-size", 1, LARGEST_WAVE), _whole(form, say, "canary", 0, LARGEST_WAVE)
    rules = Rules(
        _number(form, say, "pace", 0.01, FASTEST) or _DEFAULTS.pace,
        _number(form, say, "between", 0, LONGEST_SECONDS) or 0.0,
        _number(form, say, "patience", 1, LONGEST_SECONDS) or _DEFAULTS.patience,
        _threshold(form, say),
    )
    choice = Choice(everything, groups, devices, percent or 100, form.has("skip-unknown"))
    return PlanWish(choice, rules, canary, size or WAVE)


def _devices(form: Form, say: Words) -> list[str]:
    texts = [text for text in re.split(r"[\s,;]+", form["devices"]) if text]
    wrong = []
    found = []
    for text in texts:
        try:
            found += device_names([text])
        except Refusal:
            wrong.append(text[:32])
    if wrong:
        form.refuse("devices", say("waves.not-devices", names=", ".join(wrong[:5])))
    return found


def _whole(form: Form, say: Words, name: str, least: int, most: int) -> int | None:
    """Read a whole number; empty is none where the field may be."""
    text = form[name]
    if not text and name == "canary":
        return None
    good = text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most
    if not good:
        form.refuse(name, say("error.from-to", first=least, last=most))
    return int(text) if good else None


def _number(form: Form, say: Words, name: str, least: float, most: float) -> float | None:
    text = form[name]
    good = re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text, re.ASCII) is not None and least <= float(text) <= most
    if not good:
        form.refuse(name, say("error.from-to", first=f"{least:g}", last=f"{most:g}"))
    return float(text) if good else None


def _threshold(form: Form, say: Words) -> Threshold:
    try:
        return Threshold.parse(form["stop-at"])
    except Refusal:
        form.refuse("stop-at", say("waves.stop-at-wrong"))
        return _DEFAULTS.stop_at
