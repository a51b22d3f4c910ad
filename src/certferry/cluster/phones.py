"""The phones and CallManager groups a cluster knows."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from certferry.cluster import schema
from certferry.cluster.values import DEFAULT_MODEL, CallManagerGroup, Phone
from certferry.errors import UsageError

DEFAULT_GROUP = "Default"
MAXIMUM_MEMBERS = 3
_DEVICE = re.compile(r"SEP[0-9A-F]{12}")
_MODEL = re.compile(r"[A-Za-z0-9-]{1,16}")


class PhoneInvalidError(UsageError):
    """A phone is described in a way that cannot be."""

    code = "cluster.phone-invalid"
    remedy = "Write a device as SEP and the 12 hex digits of its MAC; a CSV has columns device,model,group,secure."


class PhoneUnknownError(UsageError):
    """The cluster knows no phone of that name."""

    code = "cluster.phone-unknown"
    remedy = "See the phones with 'certferry phone list'."


class GroupInvalidError(UsageError):
    """A CallManager group names no node, too many, or one that does not exist."""

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
    """Read phones from CSV with a heading line; every fault is told with its line number."""
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    headings = [heading.strip().lower() for heading in reader.fieldnames or []]
    if "device" not in headings:
        raise PhoneInvalidError("the first line of the CSV has no column 'device'")
    reader.fieldnames = headings
    return [_phone_of_row(row, reader.line_num) for row in reader if any(row.values())]


def _phone_of_row(row: dict[str, str | None], line: int) -> Phone:
    try:
        return Phone(
            device_name(row.get("device") or ""),
            (row.get("model") or DEFAULT_MODEL).strip(),
            (row.get("group") or DEFAULT_GROUP).strip(),
            (row.get("secure") or "").strip().lower() in ("true", "yes", "1", "t"),
            (row.get("description") or "").strip(),
        )
    except PhoneInvalidError as error:
        raise PhoneInvalidError(f"line {line}: {error}") from error


def put_group(connection: Connection, group: CallManagerGroup, known_nodes: Iterable[str]) -> None:
    """Write a group; raise ``GroupInvalidError``."""
    known = set(known_nodes)
    if not 1 <= len(group.members) <= MAXIMUM_MEMBERS:
        raise GroupInvalidError(
            f"group {group.name} has {len(group.members)} members instead of 1 to {MAXIMUM_MEMBERS}"
        )
    strangers = [name for name in group.members if name not in known]
    if strangers:
        raise GroupInvalidError(f"group {group.name} names {', '.join(strangers)}, which is no node of this cluster")
    row = {"name": group.name, "members": json.dumps(group.members)}
    statement = insert(schema.group).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"members": row["members"]}))


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
            raise PhoneInvalidError(f"{phone.device}: there is no CallManager group {phone.group!r}")
        rows.append(
            {
                "device": device_name(phone.device),
                "model": phone.model,
                "group": phone.group,
                "secure": phone.secure,
                "description": phone.description,
            }
        )
    if rows:
        statement = insert(schema.phone)
        new = {name: statement.excluded[name] for name in ("model", "group", "secure", "description")}
        connection.execute(statement.on_conflict_do_update(index_elements=["device"], set_=new), rows)


def read_phones(connection: Connection) -> tuple[Phone, ...]:
    """Read all phones by name."""
    rows = connection.execute(select(schema.phone).order_by(schema.phone.c.device))
    return tuple(Phone(row.device, row.model, row.group, row.secure, row.description) for row in rows)


def remove_phones(connection: Connection, devices: Sequence[str]) -> None:
    """Forget phones; raise ``PhoneUnknownError`` for the first that is not known."""
    for device in devices:
        gone = connection.execute(delete(schema.phone).where(schema.phone.c.device == device_name(device)))
        if gone.rowcount == 0:
            raise PhoneUnknownError(f"the cluster knows no phone {device}")
