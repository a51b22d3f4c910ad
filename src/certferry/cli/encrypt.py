"""``certferry encrypt``: a configuration that one phone alone can read (.enc.sgn)."""

import secrets
import time
from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.cert import read_certificate
from certferry.cli.files import read_file, write_file
from certferry.cli.key_files import KeyOption, KeyPasswordOption, read_signer
from certferry.cli.options import JsonOption, output
from certferry.cli.sign import NameOption, Sha512Option, ToOption
from certferry.wire.encrypted_file import BLOCK, ENCRYPTED_SUFFIX, encrypt_file
from certferry.wire.signed_header import Digest


def encrypt(
    file: Annotated[Path, typer.Argument(help="The file to encrypt, such as SEP001122334455.cnf.xml.")],
    key: KeyOption,
    phone_certificate: Annotated[
        Path, typer.Option("--phone-certificate", metavar="PEM", help="The phone's LSC, else its MIC, with an RSA key.")
    ],
    sha512: Sha512Option = False,
    name: NameOption = None,
    to: ToOption = None,
    key_password_file: KeyPasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encrypt a file for one phone and sign it: FILE becomes FILE.enc.sgn."""
    out = output(as_json)
    phone = read_certificate(phone_certificate)
    signer, private = read_signer(out, key, key_password_file)
    digest, target = Digest.SHA512 if sha512 else Digest.SHA1, to or f"{file}{ENCRYPTED_SUFFIX}"
    data = encrypt_file(
        name or file.name,
        read_file(file),
        signer,
        private,
        phone,
        aes_key=secrets.token_bytes(BLOCK),
        iv=secrets.token_bytes(BLOCK),
        digest=digest,
        timestamp=int(time.time()),
    )
    write_file(target, data)
    if target != "-":
        parties = {"signer": signer.subject, "phone": phone.subject}
        said = f"{target}: {len(data)} bytes for {phone.subject}, signed by {signer.subject}"
        out.data({"to": target, "bytes": len(data), **parties, "digest": digest.name}, said)
