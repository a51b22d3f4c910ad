"""The phones and CallManager groups a cluster knows."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

from sqlalchemy import ColumnElement, Connection, delete, select, true

from certferry.cluster import schema
from certferry.cluster.touched import Touched, touch
from certferry.cluster.upserting import upsert
from certferry.cluster.values import DEFAULT_MODEL, CallManagerGroup, Phone
from certferry.errors import UsageError

DEFAULT_GROUP = "Default"
MAXIMUM_MEMBERS = 3
_DEVICE = re.compile(r"SEP[0-9A-F]{12}")
_MODEL = re.compile(r"[A-Za-z0-9-]{1,16}")
_TRUTHS = dict.fromkeys(("true", "yes", "1", "t"), True) | dict.fromkeys(("false", "no", "0", "f", ""), False)
_FAULTS_TOLD = 20
_SEE_GROUPS = "See the groups with 'certferry cluster show'; make one with: certferry cluster set group.NAME NODE,NODE"


class PhoneInvalidError(UsageError):
    """A phone is described in a way that cannot be."""

    code = "cluster.phone-invalid"
    remedy = "Write a device as SEP and the 12 hex digits of its MAC; a CSV has columns device,model,group,secure."


class PhoneUnknownError(UsageError):
    """The cluster knows no phone of that name."""

    code = "cluster.phone-unknown"
    remedy = "See the phones with 'certferry phone list'."


class GroupInvalidError(UsageError):
    """A CallManager group names no node, too many, one twice, or one that does not exist."""

    code = "cluster.group-invalid"
    remedy = "Give one to three nodes of the cluster, in order of preference."


def device_name(text: str) -> str:
    """Normalise ``SEP001122334455`` or ``00:11:22:33:44:55``; raise ``PhoneInvalidError``."""
    plain = re.sub(r"[:.\-]", "", text.strip()).upper()
    name = plain if plain.startswith("SEP") else f"SEP{plain}"
    if not _DEVICE.fullmatch(name):
        raise PhoneInvalidError(f"{text!r} is not a phone's device name or MAC address")
    return name


def parse_csv(text: str) -> list[Phone]:
    """Read phones from CSV with a heading line; raise ``PhoneInvalidError`` that tells every fault with its line."""
    phones: dict[str, Phone] = {}
    faults: list[str] = []
    for line, row in _rows(text):
        try:
            phone = _phone_of_row(row, phones)
        except PhoneInvalidError as error:
            faults.append(f"line {line}: {error}")
        else:
            phones[phone.device] = phone
    if faults:
        raise PhoneInvalidError("; ".join(faults[:_FAULTS_TOLD]) + _left_out(len(faults)))
    return list(phones.values())


def _left_out(faults: int) -> str:
    return f"; and {faults - _FAULTS_TOLD} more" if faults > _FAULTS_TOLD else ""


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    lines = _cells(text)
    _, headings = next(lines, (1, []))
    headings = [heading.lower() for heading in headings]
    if "device" not in headings:
        raise PhoneInvalidError("the first line of the CSV has no column 'device'")
    for line, cells in lines:
        if any(cells):
            # A cell too many is kept, without a name, so that its fault is told with its line.
            yield line, dict(zip_longest(headings, cells, fillvalue=""))


def _cells(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), skipinitialspace=True)
    try:
        for cells in reader:
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise PhoneInvalidError(f"line {reader.line_num} of the CSV cannot be read: {error}") from error


def _phone_of_row(row: dict[str, str], known: Mapping[str, Phone]) -> Phone:
    if row.get(""):
        raise PhoneInvalidError(f"there are more cells than headings: {row['']!r}")
    device = device_name(row["device"])
    if device in known:
        raise PhoneInvalidError(f"{device} stands further up already")
    return Phone(
        device,
        _model(row.get("model") or DEFAULT_MODEL),
        row.get("group") or DEFAULT_GROUP,
        _truth(row.get("secure", "")),
        row.get("description", ""),
    )


def _model(text: str) -> str:
    if not _MODEL.fullmatch(text):
        raise PhoneInvalidError(f"{text!r} is not a model")
    return text


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise PhoneInvalidError(f"secure is {text!r}, neither true nor false")
    return _TRUTHS[text.lower()]


def put_group(connection: Connection, group: CallManagerGroup, known_nodes: Iterable[str]) -> None:
    """Write a group; raise ``GroupInvalidError``."""
    known = set(known_nodes)
    if not 1 <= len(group.members) <= MAXIMUM_MEMBERS:
        raise GroupInvalidError(
            f"group {group.name} has {len(group.members)} members instead of 1 to {MAXIMUM_MEMBERS}"
        )
    if len(set(group.members)) < len(group.members):
        raise GroupInvalidError(f"group {group.name} names a node twice")
    strangers = [name for name in group.members if name not in known]
    if strangers:
        raise GroupInvalidError(f"group {group.name} names {', '.join(strangers)}, which is no node of this cluster")
    row = {"name": group.name, "members": json.dumps(group.members)}
    upsert(connection, schema.group, [row], keys=["name"], update=["members"])


def read_groups(connection: Connection) -> tuple[CallManagerGroup, ...]:
    """Read all groups by name."""
    rows = connection.execute(select(schema.group).order_by(schema.group.c.name))
    return tuple(CallManagerGroup(row.name, tuple(json.loads(row.members))) for row in rows)


def put_phones(connection: Connection, phones: Sequence[Phone]) -> None:
    """Write phones, known ones anew; raise ``PhoneInvalidError`` for the first that cannot be."""
    groups = {group.name for group in read_groups(connection)}
    rows = []
    for phone in phones:
        if not _MODEL.fullmatch(phone.model):
            raise PhoneInvalidError(f"{phone.device}: {phone.model!r} is not a model")
        if phone.group not in groups:
            raise PhoneInvalidError(
                f"{phone.device}: there is no CallManager group {phone.group!r}", remedy=_SEE_GROUPS
            )
        if "\0" in phone.description:
            raise PhoneInvalidError(f"{phone.device}: the description holds a NUL")
        rows.append(
            {
                "device": device_name(phone.device),
                "model": phone.model,
                "group": phone.group,
                "secure": phone.secure,
                "description": phone.description,
            }
        )
    upsert(connection, schema.phone, rows, keys=["device"], update=["model", "group", "secure", "description"])
    touch(connection, Touched.PHONE, (str(row["device"]) for row in rows))


def read_phones(connection: Connection, condition: ColumnElement[bool] | None = None) -> tuple[Phone, ...]:
    """Read all phones by name, or those that meet a condition."""
    wanted = true() if condition is None else condition
    rows = connection.execute(select(schema.phone).where(wanted).order_by(schema.phone.c.device))
    return tuple(Phone(row.device, row.model, row.group, row.secure, row.description) for row in rows)


def remove_phones(connection: Connection, devices: Sequence[str]) -> None:
    """Forget phones; raise ``PhoneUnknownError`` for the first that is not known."""
    for device in devices:
        gone = connection.execute(delete(schema.phone).where(schema.phone.c.device == device_name(device)))
        if gone.rowcount == 0:
            raise PhoneUnknownError(f"the cluster knows no phone {device}")
    touch(connection, Touched.PHONE, map(device_name, devices))
