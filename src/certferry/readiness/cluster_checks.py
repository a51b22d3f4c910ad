"""What the cluster itself says: its certificates and the clock, its SFTP server, who may use its pages."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import asyncssh

from certferry.bulk.settings import SftpSettings
from certferry.cluster.cluster import Cluster
from certferry.cluster.values import Identity
from certferry.errors import Refusal
from certferry.trust.list_check import Check

CLOCKS_DIFFER = timedelta(minutes=1)


def cluster_checks(cluster: Cluster, now: datetime, window: timedelta) -> Iterator[Check]:
    """Look at what is in the cluster."""
    owned = cluster.identities()
    yield _expiry(owned, now, window)
    yield _clock(cluster, owned, now)
    yield _sftp(cluster)
    yield _users(cluster)


def _expiry(owned: tuple[Identity, ...], now: datetime, window: timedelta) -> Check:
    title = f"No certificate of the cluster expires within {window.days} days"
    ended = [each for each in owned if each.certificate.not_after < now]
    soon = [each for each in owned if now <= each.certificate.not_after < now + window]
    remedy = "Regenerate it: certferry cert regenerate PURPOSE; see 'Regenerate a certificate' for what phones do then."
    if ended or soon:
        told = [f"{_named(each)} {word} {each.certificate.not_after:%Y-%m-%d}"
                for group, word in ((ended, "expired on"), (soon, "expires on")) for each in group]  # fmt: skip
        return Check("config.certificates", title, "fail" if ended else "warn", "; ".join(told), remedy)
    first = min(owned, key=lambda each: each.certificate.not_after)
    return Check("config.certificates", title, "pass", f"first {_named(first)}: {first.certificate.not_after:%Y-%m-%d}")


def _clock(cluster: Cluster, owned: tuple[Identity, ...], now: datetime) -> Check:
    title = "The clock of this host is not behind the cluster"
    remedy = "Set the clock, and keep it by NTP: timedatectl set-ntp true"
    future = [each for each in owned if each.certificate.not_before > now]
    if future:
        told = "; ".join(
            f"{_named(each)} is valid from {each.certificate.not_before:%Y-%m-%d %H:%M}" for each in future
        )
        return Check("config.clock", title, "fail", f"it is {now:%Y-%m-%d %H:%M} UTC here; {told}", remedy)
    last = datetime.fromisoformat(json.loads(cluster.audit_lines()[-1])["at"])
    if last > now + CLOCKS_DIFFER:
        evidence = f"it is {now:%Y-%m-%d %H:%M} UTC here; the last change was made at {last:%Y-%m-%d %H:%M}"
        return Check("config.clock", title, "fail", evidence, remedy)
    return Check("config.clock", title, "pass", f"{now:%Y-%m-%d %H:%M} UTC")


def _named(identity: Identity) -> str:
    return f"{identity.purpose} of {identity.node or 'all nodes'}"


def _sftp(cluster: Cluster) -> Check:
    title = "The SFTP server of the exchange is set, and its host key known"
    try:
        settings = SftpSettings.load(cluster)
    except Refusal as refusal:
        evidence = f"{refusal.sentence}; only bulk exports and imports need them"
        return Check("config.sftp", title, "warn", evidence, refusal.remedy)
    if settings.host_key:
        return Check("config.sftp", title, "pass", f"{settings.url}, host key accepted")
    file = settings.known_hosts or Path("~/.ssh/known_hosts").expanduser()
    if _knows(file, settings.host, settings.port):
        return Check("config.sftp", title, "pass", f"{settings.url}, host key in {file}")
    remedy = "Compare the key with the server's and accept it: certferry bulk sftp --accept-new-host-key"
    return Check("config.sftp", title, "warn", f"no host key of {settings.url} in {file}", remedy)


def _knows(file: Path, host: str, port: int) -> bool:
    try:
        keys, *_ = asyncssh.match_known_hosts(str(file), host, "", port)
    except (OSError, ValueError):
        return False
    return bool(keys)


def _users(cluster: Cluster) -> Check:
    title = "Somebody can log in to the pages"
    names = [each.name for each in cluster.accounts.users()]
    if names:
        return Check("config.web-user", title, "pass", ", ".join(names))
    remedy = "Add the first user, if the pages are wanted: certferry web user add NAME --role operator"
    return Check("config.web-user", title, "warn", "there is no user", remedy)
