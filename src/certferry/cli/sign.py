"""``certferry sign`` and ``unsign``: .sgn files as TFTP nodes serve them, for systems that are not CUCM."""

import time
from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.cert import read_certificate
from certferry.cli.exit_codes import ExitCode
from certferry.cli.files import naming, read_file, write_file
from certferry.cli.key_files import KeyOption, KeyPasswordOption, read_signer
from certferry.cli.options import JsonOption, output
from certferry.errors import UsageError
from certferry.wire.encrypted_file import ENCRYPTED_SUFFIX
from certferry.wire.signed_file import SUFFIX, SignedFile, sign_file
from certferry.wire.signed_header import Digest

ToOption = Annotated[str | None, typer.Option("--to", help="File to write, or - for standard output.")]
Sha512Option = Annotated[bool, typer.Option("--sha512", help="SHA-512 instead of SHA-1, for newer phones.")]
NameOption = Annotated[str | None, typer.Option("--name", help="The name phones ask for; the file's own else.")]


class SuffixError(UsageError):
    """The name of the file to write cannot be made of the one read."""

    code = "cli.suffix"
    remedy = "Say where to write: --to FILE"


def sign(
    file: Annotated[Path, typer.Argument(help="The file to sign, such as SEP001122334455.cnf.xml.")],
    key: KeyOption,
    sha512: Sha512Option = False,
    name: NameOption = None,
    to: ToOption = None,
    key_password_file: KeyPasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a signed header before a file: FILE becomes FILE.sgn."""
    out = output(as_json)
    signer, private = read_signer(out, key, key_password_file)
    digest, target = Digest.SHA512 if sha512 else Digest.SHA1, to or f"{file}{SUFFIX}"
    signed = sign_file(name or file.name, read_file(file), signer, private, digest=digest, timestamp=int(time.time()))
    write_file(target, signed)
    if target != "-":
        result = {"to": target, "bytes": len(signed), "signer": signer.subject, "digest": digest.name}
        out.data(result, f"{target}: {len(signed)} bytes, signed by {signer.subject}")


def unsign(
    file: Annotated[Path, typer.Argument(help="A signed file, X.sgn.")],
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="PEM", help="Verify with it first; exit 4 if it fails.")
    ] = None,
    to: ToOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cut the signed header off a file: X.sgn becomes X."""
    out = output(as_json)
    if to is None and file.suffix != SUFFIX:
        raise SuffixError(f"{file} does not end in {SUFFIX}")
    if to is None and file.name.endswith(ENCRYPTED_SUFFIX):
        raise SuffixError(f"{file} is encrypted: without its signature it is still nothing that can be read")
    data, target = read_file(file), to or str(file.with_suffix(""))
    with naming(file):
        signed = SignedFile.parse(data)
    verified = signed.verify(read_certificate(certificate)) if certificate else None
    result = {"to": target, "filename": signed.header.filename, "signer": signed.header.subject, "verified": verified}
    if verified is False:
        out.data(result, f"{file} is not signed by {certificate}; nothing was written.")
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)
    write_file(target, signed.payload)
    if target != "-":
        out.data(result, f"{target}: {len(signed.payload)} bytes, as {signed.header.subject} signed them")
