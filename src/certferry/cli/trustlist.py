"""``certferry trustlist``: decode and judge a CTL or ITL from a file or straight from a TFTP node."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any

import typer

from certferry.cli import trustlist_build
from certferry.cli.exit_codes import ExitCode
from certferry.cli.files import read_trust_list
from certferry.cli.options import JsonOption, output
from certferry.cli.role_names import role_name
from certferry.trust.list_check import check_list, signature_of
from certferry.wire.listing import listing
from certferry.wire.trust_list import TrustList, TrustRecord

app = typer.Typer(help="Decode and verify CTL and ITL files.")

Place = Annotated[
    str, typer.Argument(metavar="FILE|URL", help="A file, tftp://HOST[:PORT]/NAME or http://HOST:6970/NAME.")
]


@app.command()
def show(file: Place, as_json: JsonOption = False) -> None:
    """Decode a trust list and print it as 'show ctl' and 'show itl' do."""
    out = output(as_json)
    data, parsed = read_trust_list(file)
    signature = signature_of(data, parsed)
    out.data(_describe(data, parsed, signature))
    if not out.as_json:
        modified = datetime.fromtimestamp(parsed.header.timestamp or 0, UTC).astimezone()
        out.text(listing(data, _kind(parsed), signature == "valid", f"{modified:%a %b %d %H:%M:%S %Z %Y}"))


@app.command()
def verify(
    file: Place,
    trusted: Annotated[
        str | None,
        typer.Option("--trusted", metavar="FILE|URL", help="A list a phone holds: would it accept this one?"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check signature, signer, size and validity; exit 4 when a check fails."""
    out = output(as_json)
    data, _ = read_trust_list(file)
    held = read_trust_list(trusted)[1] if trusted else None
    checks = check_list(data, datetime.now(UTC), held)
    ok = all(check.verdict in ("pass", "warn") for check in checks)
    described = [
        {"id": c.id, "title": c.title, "verdict": c.verdict, "evidence": c.evidence, "remedy": c.remedy} for c in checks
    ]
    out.data({"ok": ok, "checks": described})
    rows = [(check.verdict, check.title, check.evidence) for check in checks]
    out.table(("verdict", "check", "evidence"), rows, sentences=True)
    for check in checks:
        if check.remedy:
            out.text(f"\n{check.verdict}: {check.title}\n  {check.remedy}")
    if not ok:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _kind(parsed: TrustList) -> Any:
    name = parsed.header.filename.upper()
    if name.startswith("CTL"):
        return "CTL"
    # An extended or renamed ITL is still an ITL; only the CTL knows no TVS.
    return "ITL"


def _describe(data: bytes, parsed: TrustList, signature: str) -> dict[str, Any]:
    header = parsed.header
    return {
        "kind": _kind(parsed),
        "version": ".".join(map(str, header.version)),
        "filename": header.filename,
        "timestamp": header.timestamp,
        "digest": {"SHA1": "SHA-1", "SHA256": "SHA-256", "SHA512": "SHA-512"}[header.digest.name],
        "signer": {"subject": header.subject, "issuer": header.issuer, "serial": header.serial.hex().upper()},
        "signature": signature,
        "bytes": len(data),
        "records": [_record(record) for record in parsed.records],
    }


def _record(record: TrustRecord) -> dict[str, Any]:
    return {
        "role": role_name(record.role),
        "role_code": record.role,
        "subject": record.subject,
        "issuer": record.issuer,
        "serial": record.serial.hex().upper() if record.serial else record.serial,
        "dns_name": record.dns_name,
        "ip_address": record.ip_address,
        "sha256": sha256(record.certificate).hexdigest() if record.certificate else None,
        "emptied": record.is_emptied,
    }


app.command("build", cls=trustlist_build.InGivenOrder)(trustlist_build.build)
