"""``certferry tvs``: ask a Trust Verification Service as a phone does."""

import asyncio
from pathlib import Path
from random import randrange
from typing import Annotated, Any

import typer

from certferry.cli.addresses import parse_address
from certferry.cli.cert import read_certificate
from certferry.cli.exit_codes import ExitCode
from certferry.cli.files import read_trust_list
from certferry.cli.options import JsonOption, output
from certferry.cli.role_names import role_name
from certferry.fleet.tvs import TvsAnswer, ask
from certferry.trust.list_check import tvs_certificates
from certferry.wire.certificate import Certificate
from certferry.wire.tvs import CertificateQueryRequest, CertificateVerificationRequest, Request, Status

app = typer.Typer(help="Talk to a Trust Verification Service.")

TVS_PORT = 2445
DEFAULT_DEVICE = "SEP001B54000000"


@app.callback()
def _tvs() -> None:
    """Talk to a Trust Verification Service."""


@app.command("ask")
def ask_(
    host: Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="A TVS node; port 2445 when left out.")],
    certificate: Annotated[Path, typer.Argument(metavar="CERT.pem", help="The certificate asked about, PEM or DER.")],
    query: Annotated[
        bool, typer.Option("--query", help="Command 3, by subject, issuer and serial: what migrating phones send.")
    ] = False,
    device: Annotated[str, typer.Option(help="The device name to ask as.")] = DEFAULT_DEVICE,
    trusted: Annotated[
        str | None, typer.Option(metavar="ITL", help="The ITL a phone holds: break off unless it names this TVS.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds to wait for the answer.")] = 10,
    allow_tls10: Annotated[bool, typer.Option("--allow-tls10", help="Speak TLS 1.0 too, as 7900 phones do.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask whether a certificate is trusted, and in which roles; exit 4 when it is not."""
    out = output(as_json)
    asked = read_certificate(certificate)
    request = _request(asked, device, query=query)
    anchors = tvs_certificates(read_trust_list(trusted)[1]) if trusted else None
    address = parse_address(host, TVS_PORT)
    answer = asyncio.run(ask(address, request, trusted=anchors, timeout=timeout, allow_tls10=allow_tls10))
    described = _describe(answer)
    out.data(described, _in_words(asked, described, host))
    if answer.reply.status != Status.VALID:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _request(asked: Certificate, device: str, *, query: bool) -> Request:
    session = randrange(1, 1 << 32)  # noqa: S311 -- a number to tell answers apart, not a secret
    if query:
        return CertificateQueryRequest(session, device, asked.subject, asked.issuer, asked.serial)
    return CertificateVerificationRequest(session, device, asked.der)


def _describe(answer: TvsAnswer) -> dict[str, Any]:
    reply = answer.reply
    server = Certificate.parse(answer.server_certificate)
    returned = getattr(reply, "certificate", None)
    return {
        "status": "valid" if reply.status == Status.VALID else "invalid",
        "roles": [role_name(role) for role in reply.roles],
        "ttl": reply.ttl,
        "tls": {"version": answer.tls_version, "cipher": answer.cipher, "subject": server.subject},
        "tvs_certificate_sha256": server.sha256,
        "certificate_sha256": Certificate.parse(returned).sha256 if returned else None,
    }


def _in_words(asked: Certificate, described: dict[str, Any], host: str) -> str:
    about = f"{asked.subject}, serial {asked.serial_hex}"
    over = (
        f"({described['tls']['version']}, {described['tls']['cipher']}, TVS certificate {described['tls']['subject']})"
    )
    if described["status"] != "valid":
        return f"TVS at {host} does not know {about} {over}\nA phone would refuse a list signed by it."
    roles = ", ".join(described["roles"]) or "no role: in CallManager-trust only, a phone would refuse it"
    return f"TVS at {host} vouches for {about}: {roles}; keep for {described['ttl']} s {over}"
