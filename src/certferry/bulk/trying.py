"""Settings on trial: merged with the saved ones, then logged in with, before they are saved."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from certferry.bulk.participant import Participant
from certferry.bulk.settings import SettingsMissingError, SftpSettings
from certferry.bulk.transport import SftpExchange


@dataclass(frozen=True, slots=True)
class Tried:
    """Settings that answered: the server's host key as ``ssh-keygen -l`` prints it, and whether it was taken over."""

    settings: SftpSettings
    fingerprint: str
    accepted_new_host_key: bool


async def try_settings(settings: SftpSettings, *, accept_new_host_key: bool = False) -> Tried:
    """Log in and list the directory; raises a class of ``bulk.refusals``."""
    exchange = await SftpExchange.connect(settings, accept_new_host_key=accept_new_host_key)
    try:
        await exchange.entries()
        return Tried(exchange.settings, exchange.fingerprint, exchange.accepted_new_host_key)
    finally:
        await exchange.close()


def merge_settings(participant: Participant, given: Mapping[str, Any]) -> SftpSettings:
    """Put what was ``given`` (None: not) over the saved settings; raises ``SettingsWrongError``."""
    wanted = {name: value for name, value in given.items() if value is not None}
    try:
        saved = SftpSettings.load(participant)
    except SettingsMissingError:
        blank = {"host": "", "user": "", "directory": ""}
        return SftpSettings(**{**blank, **wanted})
    merged = _without_strangers_secrets(replace(saved, **wanted), saved)
    return replace(merged, password=wanted.get("password", merged.password))


def _without_strangers_secrets(merged: SftpSettings, saved: SftpSettings) -> SftpSettings:
    """Forget what was meant for another server: its host key says nothing here, its password is not for this one."""
    if (merged.host, merged.port) != (saved.host, saved.port):
        merged = replace(merged, host_key="", password="")
    return merged if merged.user == saved.user else replace(merged, password="")
