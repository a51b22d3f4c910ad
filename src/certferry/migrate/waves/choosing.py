"""Which phones migrate: all, those of CallManager groups, those named, or a share of them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from certferry.cluster.values import Phone
from certferry.errors import UsageError

TOLD = 10
"""Phones named in a refusal."""


class NothingChosenError(UsageError):
    """No phone was chosen."""

    code = "waves.nothing-chosen"
    remedy = "Say which phones: --all, --group NAME, --csv FILE, --device SEP<MAC> or --failed-of MIGRATION."


class NothingMovedError(UsageError):
    """The way back is asked for of a migration in which no phone moved."""

    code = "waves.nothing-moved"
    remedy = "See where its phones are with: certferry migrate status"


class SameClusterError(UsageError):
    """Source and destination of a migration are one cluster."""

    code = "waves.same-cluster"
    remedy = "Name the cluster that the phones leave with --source, and the one they go to with --destination."


class SourceEmptyError(UsageError):
    """All phones of the source were chosen, and it knows none."""

    code = "waves.source-empty"
    remedy = "Add its phones with 'certferry phone import', or see that --cluster names the source."


class PhoneNotAtSourceError(UsageError):
    """A phone was named, or a group, that the source does not know."""

    code = "waves.not-at-source"
    remedy = "See the source's phones with 'certferry phone list' and its groups with 'certferry cluster show'."


class PhoneNotAtDestinationError(UsageError):
    """The destination does not know some of the phones, so they could not register there."""

    code = "waves.not-at-destination"
    remedy = "Add them there with 'certferry phone import', or leave them out with --skip-unknown."


@dataclass(frozen=True, slots=True)
class Choice:
    """What the operator said. ``percent`` is the share of what the others choose; the same phones every time.

    With ``only`` the others choose among these phones, and nobody else is chosen.
    """

    everything: bool = False
    groups: Sequence[str] = ()
    devices: Sequence[str] = ()
    percent: int = 100
    skip_unknown: bool = False
    only: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The phones that migrate, and those left out because the destination does not know them.

    Those ``unlike`` have another model at the destination, or another profile there: they may not register.
    """

    phones: tuple[Phone, ...]
    left_out: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()


def choose(choice: Choice, source: Iterable[Phone], destination: Iterable[Phone]) -> Chosen:
    """Choose among the phones of the source.

    Raises ``NothingChosenError``, ``SourceEmptyError``, ``PhoneNotAtSourceError``, ``PhoneNotAtDestinationError``.
    """
    known_there = {phone.device: phone for phone in destination}
    wanted = share(_wanted(choice, list(source)), choice.percent)
    unknown = tuple(phone.device for phone in wanted if phone.device not in known_there)
    if unknown and not choice.skip_unknown:
        raise PhoneNotAtDestinationError(f"the destination does not know {_names(unknown)}")
    phones = tuple(phone for phone in wanted if phone.device in known_there)
    if not phones and unknown:
        raise PhoneNotAtDestinationError(f"the destination knows none of the {len(unknown)} phones")
    if not phones and choice.everything and choice.only is None:
        raise SourceEmptyError("the source knows no phones")
    if not phones:
        raise NothingChosenError("no phone was chosen")
    unlike = tuple(phone.device for phone in phones if _kind(phone) != _kind(known_there[phone.device]))
    return Chosen(phones, unknown, unlike)


def share(phones: Sequence[Phone], percent: int) -> list[Phone]:
    """Choose ``percent`` of ``phones``, rounded up; a larger share holds every phone of a smaller one."""
    count = -(-len(phones) * percent // 100)
    drawn = {phone.device for phone in sorted(phones, key=_lot)[:count]}
    return [phone for phone in phones if phone.device in drawn]


def _kind(phone: Phone) -> tuple[str, bool]:
    return phone.model.upper().removeprefix("CP-"), phone.secure


def _lot(phone: Phone) -> bytes:
    return sha256(phone.device.encode()).digest()


def _wanted(choice: Choice, phones: list[Phone]) -> list[Phone]:
    _refuse_strangers("phone", choice.devices, {phone.device for phone in phones})
    _refuse_strangers("phone of a group", choice.groups, {phone.group for phone in phones})
    groups, devices = frozenset(choice.groups), frozenset(choice.devices)
    chosen = [phone for phone in phones if choice.everything or phone.group in groups or phone.device in devices]
    return chosen if choice.only is None else [phone for phone in chosen if phone.device in choice.only]


def _refuse_strangers(what: str, named: Sequence[str], known: set[str]) -> None:
    strangers = [name for name in named if name not in known]
    if strangers:
        raise PhoneNotAtSourceError(f"the source knows no {what} {_names(strangers)}")


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more
