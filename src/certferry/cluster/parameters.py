"""Enterprise parameters (``certferry cluster set KEY VALUE``) and certferry's own settings, secrets sealed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Table, delete, select

from certferry.cluster import schema
from certferry.cluster.sealing import Seal
from certferry.cluster.upserting import upsert
from certferry.cluster.values import SecurityMode
from certferry.errors import UsageError


class ParameterUnknownError(UsageError):
    """No enterprise parameter has that key."""

    code = "cluster.parameter-unknown"
    remedy = "See the keys with 'certferry cluster show'."


class ParameterValueError(UsageError):
    """The value is not one the parameter takes."""

    code = "cluster.parameter-value"
    remedy = "Give one of the values the sentence lists."


@dataclass(frozen=True, slots=True)
class Parameter:
    """An enterprise parameter: key, its title in Unified CM, default, and how a value is read."""

    key: str
    title: str
    default: str
    read: Callable[[str], str]


def _one_of(*values: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        lowered = text.strip().lower()
        if lowered not in values:
            raise ParameterValueError(f"{text!r} is none of {', '.join(values)}")
        return lowered

    return read


def _boolean(text: str) -> str:
    known = {"true": "true", "t": "true", "yes": "true", "1": "true"}
    known |= {"false": "false", "f": "false", "no": "false", "0": "false"}
    value = known.get(text.strip().lower())
    if value is None:
        raise ParameterValueError(f"{text!r} is neither true nor false")
    return value


def _seconds(text: str) -> str:
    digits = text.strip()
    if not (digits.isdecimal() and len(digits) <= len(str(_LONGEST_TTL)) and 1 <= int(digits) <= _LONGEST_TTL):
        raise ParameterValueError(f"{text!r} is not a number of seconds from 1 to {_LONGEST_TTL}")
    return str(int(digits))


_LONGEST_TTL = 2_592_000

ROLLBACK = "rollback-to-pre-8.0"
SECURITY_MODE = "security-mode"
SIGNATURE_ALGORITHM = "tftp-file-signature-algorithm"
TVS_CACHE = "tvs-cache-seconds"

PARAMETERS = {
    parameter.key: parameter
    for parameter in (
        Parameter(ROLLBACK, "Prepare Cluster for Rollback to Pre 8.0", "false", _boolean),
        Parameter(SECURITY_MODE, "Cluster Security Mode", SecurityMode.NON_SECURE.value, _one_of(*SecurityMode)),
        Parameter(SIGNATURE_ALGORITHM, "TFTP File Signature Algorithm", "sha-1", _one_of("sha-1", "sha-512")),
        Parameter(TVS_CACHE, "TVS: time a phone may keep an answer", "86400", _seconds),
    )
}


def read_parameters(connection: Connection) -> dict[str, str]:
    """Read every parameter, defaults included."""
    stored = {row.key: row.value for row in connection.execute(select(schema.parameter))}
    return {key: stored.get(key, parameter.default) for key, parameter in PARAMETERS.items()}


def set_parameter(connection: Connection, key: str, value: str) -> str:
    """Write a parameter; return the value as stored. Raise ``ParameterUnknownError`` or ``ParameterValueError``."""
    if key not in PARAMETERS:
        raise ParameterUnknownError(f"{key!r} is none of {', '.join(PARAMETERS)}")
    read = PARAMETERS[key].read(value)
    _put(connection, schema.parameter, {"key": key, "value": read})
    return read


def read_settings(connection: Connection, seal: Seal, keys: Sequence[str]) -> dict[str, str]:
    """Read those of certferry's own settings that were ever set, opening secrets."""
    rows = connection.execute(select(schema.setting).where(schema.setting.c.key.in_(keys)))
    return {
        row.key: row.value if row.sealed is None else seal.open(row.sealed, f"setting {row.key}").decode()
        for row in rows
    }


def set_setting(connection: Connection, seal: Seal, key: str, value: str | None, *, secret: bool) -> None:
    """Write a setting, sealed when it is a secret; None takes it away."""
    if value is None:
        connection.execute(delete(schema.setting).where(schema.setting.c.key == key))
        return
    sealed = seal.seal(value.encode(), f"setting {key}") if secret else None
    _put(connection, schema.setting, {"key": key, "value": None if secret else value, "sealed": sealed})


def _put(connection: Connection, table: Table, row: dict[str, object]) -> None:
    others = [name for name in row if name != "key"]
    upsert(connection, table, [row], keys=["key"], update=others)
