"""The SFTP form of Bulk Certificate Management: checked field by field, tried out, then saved."""

import ipaddress
import re
from dataclasses import replace

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from certferry.bulk.refusals import HostKeyUnknownError
from certferry.bulk.settings import LAST_PORT, SSH_PORT, SettingsMissingError, SftpSettings
from certferry.bulk.trying import Tried, merge_settings, try_settings
from certferry.cluster.cluster import Cluster
from certferry.errors import Refusal
from certferry.web.pages.drawing import told, words_of
from certferry.web.pages.forms import Form
from certferry.web.pages.once import Outcome, outcomes_of
from certferry.web.security import User

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
_NUMBERS = re.compile(r"[0-9.]+")
_FIELD_OF = {
    "bulk.unreachable": "host",
    "bulk.not-ssh": "port",
    "bulk.algorithms": "host",
    "bulk.host-key-changed": "host",
    "bulk.known-hosts": "host",
    "bulk.login": "password",
    "bulk.client-key": "user",
    "bulk.directory-missing": "directory",
    "bulk.directory-denied": "directory",
}
"""Beside which field a refusal of the server is told."""


def saved_form(cluster: Cluster) -> Form:
    """Fill the form with what is saved; the password stays where it is."""
    try:
        saved = SftpSettings.load(cluster)
    except SettingsMissingError:
        return Form({"port": str(SSH_PORT)})
    return Form({"host": saved.host, "port": str(saved.port), "user": saved.user, "directory": saved.directory})


def login_kept(cluster: Cluster) -> str:
    """Say how the saved settings log in: ``password``, ``key``, or empty when neither is saved."""
    try:
        saved = SftpSettings.load(cluster)
    except SettingsMissingError:
        return ""
    return "key" if saved.client_key else "password" if saved.password else ""


async def save(request: Request, cluster: Cluster, user: User, form: Form) -> bool:
    """Check, try and save; say whether it is saved. What is wrong stands in ``form.errors``."""
    outcomes = outcomes_of(request)
    if outcomes.find(user.name, form.key):
        return True
    password = form["password"] or outcomes.secret(user.name, form.key)
    _check(request, cluster, form, password)
    if form.ok:
        try:
            tried = await _try(_settings(cluster, form, password), form["host-key"])
        except HostKeyUnknownError as refusal:
            form.values = {**form.values, "host-key": refusal.fingerprint}
            say = words_of(request)
            form.refuse("host-key", f"{told(request, refusal).sentence}\n{say('sftp.host-key-compare')}")
        except Refusal as refusal:
            form.refuse(_FIELD_OF.get(refusal.code, "host"), told(request, refusal).beside_field)
        else:
            settings, shown = tried.settings, tried.fingerprint
            await run_in_threadpool(outcomes.once, user.name, form.key, lambda: _saved(cluster, settings, shown))
            outcomes.forget_secret(user.name, form.key)
            return True
    outcomes.keep_secret(user.name, form.key, password)
    return False


async def _try(settings: SftpSettings, compared: str) -> Tried:
    """Log in; an unknown host key is taken over only if it is the one that was shown and ``compared``."""
    try:
        return await try_settings(settings)
    except HostKeyUnknownError as refusal:
        if refusal.fingerprint != compared:
            raise
    return await try_settings(settings, accept_new_host_key=True)


def _check(request: Request, cluster: Cluster, form: Form, password: str) -> None:
    say = words_of(request)
    for name in ("host", "port", "user", "directory"):
        if not form[name]:
            form.refuse(name, say("error.empty"))
    if form["host"] and not _is_host(form["host"]):
        form.refuse("host", say("error.host"))
    if form["port"] and not _is_port(form["port"]):
        form.refuse("port", say("error.port", last=LAST_PORT))
    if not password and not _login_kept_for(cluster, form):
        form.refuse("password", say("error.empty"))


def _login_kept_for(cluster: Cluster, form: Form) -> bool:
    """Whether the saved password or key serves the settings of the form as well."""
    kept = login_kept(cluster)
    if kept != "password":
        return bool(kept)
    saved = SftpSettings.load(cluster)
    return (saved.host, str(saved.port), saved.user) == (form["host"], form["port"], form["user"])


def _settings(cluster: Cluster, form: Form, password: str) -> SftpSettings:
    given = {"host": form["host"], "port": int(form["port"]), "user": form["user"], "directory": form["directory"]}
    merged = merge_settings(cluster, given | ({"password": password} if password else {}))
    return replace(merged, client_key=None) if password else merged


def _saved(cluster: Cluster, settings: SftpSettings, fingerprint: str) -> Outcome:
    settings.save(cluster)
    cluster.accounts.note("save-sftp", {"url": settings.url})
    return Outcome("done.settings", {"url": settings.url, "fingerprint": fingerprint})


def _is_host(text: str) -> bool:
    """Whether this is an address or a name; digits and dots alone have to be an address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(_NAME.fullmatch(text)) and not _NUMBERS.fullmatch(text)
    return True


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(LAST_PORT)) and 1 <= int(text) <= LAST_PORT
