"""``certferry trustlist build``: a CTL or ITL from PEM files, for systems that are not Unified CM."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from certferry.cli.cert import read_certificate
from certferry.cli.files import write_file
from certferry.cli.key_files import KeyPasswordOption, read_signer
from certferry.cli.options import JsonOption, output
from certferry.cli.role_names import role_name
from certferry.cli.sign import Sha512Option
from certferry.errors import Refusal, UsageError
from certferry.trust.list_check import Check, check_list
from certferry.wire.roles import Role
from certferry.wire.signed_header import Digest
from certferry.wire.trust_list import ListKind, TrustRecord, build_trust_list

_ROLES = {
    "sast": Role.SAST,
    "tftp": Role.TFTP,
    "ccm_tftp": Role.CALLMANAGER_TFTP,
    "ccm": Role.CALLMANAGER,
    "capf": Role.CAPF,
    "tvs": Role.TVS,
    "app_server": Role.APPLICATION_SERVER,
}
_ORDER = "certferry.trustlist-build.order"


class ListNameError(UsageError):
    """The file's name does not tell whether it is to be a CTL or an ITL."""

    code = "trustlist.name"
    remedy = "Name it as phones ask for it: CTLFile.tlv, ITLFile.tlv, CTLSEP<MAC>.tlv or ITLSEP<MAC>.tlv."


class OverwritesInputError(UsageError):
    """The list would be written over a file that it is made from."""

    code = "trustlist.overwrites-input"
    remedy = "Give the list a name of its own."


class UnusableListError(Refusal):
    """Phones would not take the list that these certificates make."""

    code = "trustlist.unusable"
    remedy = "Give fewer certificates: at most 39, and 64 KB with everything."


class InGivenOrder(TyperCommand):
    """A command that remembers the order in which its options were given, across options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual, and note the name of each option each time it stands there."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[_ORDER] = [parameter.name for parameter in order if parameter.name in _ROLES]
        return super().parse_args(ctx, args)


def _records(role: str) -> Any:
    return typer.Option(metavar="PEM", help=f"A certificate that serves as {role}; repeatable.")


def build(
    context: typer.Context,
    out_file: Annotated[Path, typer.Argument(metavar="OUT", help="CTL*.tlv or ITL*.tlv: the name tells the kind.")],
    sast: Annotated[
        list[Path],
        typer.Option(metavar="PEM", help="A certificate that may sign lists; the first holds the RSA key that signs."),
    ],
    tftp: Annotated[list[Path] | None, _records("TFTP")] = None,
    ccm_tftp: Annotated[list[Path] | None, _records("CCM+TFTP")] = None,
    ccm: Annotated[list[Path] | None, _records("CCM")] = None,
    capf: Annotated[list[Path] | None, _records("CAPF")] = None,
    tvs: Annotated[list[Path] | None, _records("TVS")] = None,
    app_server: Annotated[list[Path] | None, _records("application server (HTTPS)")] = None,
    sha512: Sha512Option = False,
    key_password_file: KeyPasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build and sign a trust list from PEM files; records stand in the order given."""
    out = output(as_json)
    kind = _kind(out_file)
    files = {"sast": sast, "tftp": tftp, "ccm_tftp": ccm_tftp, "ccm": ccm, "capf": capf, "tvs": tvs}
    given = _in_order(context.meta[_ORDER], {**files, "app_server": app_server})
    _keep_inputs(out_file, [file for _, file in given])
    signer, key = read_signer(out, sast[0], key_password_file)
    # No node names: a certificate does not tell what the system calls its nodes, and phones do without.
    records = [TrustRecord.of_certificate(read_certificate(file), role) for role, file in given]
    now = datetime.now(UTC)
    digest = Digest.SHA512 if sha512 else Digest.SHA1
    data = build_trust_list(kind, records, signer, key, digest=digest, timestamp=int(now.timestamp()))
    warnings = [f"{check.title}: no; {check.evidence}" for check in _usable(data, now)]
    warnings += _nobody_for_configurations(kind, {role for role, _ in given})
    for warning in warnings:
        out.warn(warning)
    write_file(str(out_file), data)
    described = [{"role": role_name(record.role), "subject": record.subject} for record in records]
    told = {"to": str(out_file), "kind": kind, "signer": signer.subject, "digest": digest.name}
    out.data(
        {**told, "bytes": len(data), "records": described, "warnings": warnings},
        f"wrote {out_file}, {len(data)} bytes, {len(records)} records, signed by {signer.subject}",
    )


def _kind(file: Path) -> ListKind:
    kinds: dict[str, ListKind] = {"CTL": "CTL", "ITL": "ITL"}
    kind = kinds.get(file.name[:3].upper())
    if kind is None:
        raise ListNameError(f"{file.name} begins with neither CTL nor ITL")
    return kind


def _in_order(order: list[str], files: dict[str, list[Path] | None]) -> list[tuple[Role, Path]]:
    waiting = {name: iter(given or ()) for name, given in files.items()}
    return [(_ROLES[name], next(waiting[name])) for name in order]


def _keep_inputs(to: Path, files: list[Path]) -> None:
    for file in files:
        if to.exists() and file.exists() and to.samefile(file):
            raise OverwritesInputError(f"{to} is one of the certificates")


def _usable(data: bytes, now: datetime) -> list[Check]:
    """Look at the list as ``trustlist verify`` does: refuse what it would refuse, return what it would warn of."""
    checks = check_list(data, now)
    failed = [f"{check.title}: no; {check.evidence}" for check in checks if check.verdict in ("fail", "unknown")]
    if failed:
        raise UnusableListError("; ".join(failed))
    return [check for check in checks if check.verdict == "warn"]


def _nobody_for_configurations(kind: ListKind, roles: set[Role]) -> list[str]:
    """Warn of an ITL that names nobody who signs configurations: phones that hold it would take none."""
    if kind != "ITL" or roles & {Role.TFTP, Role.CALLMANAGER_TFTP}:
        return []
    asked = " that its TVS does not vouch for" if Role.TVS in roles else ""
    return [f"phones that hold this ITL accept no configuration{asked}: give who signs them with --tftp"]
