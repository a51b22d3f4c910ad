"""Passwords: asked for, read from a file, or taken from the environment; never an argument."""

import os
from pathlib import Path

import typer

from certferry.cli.files import read_text
from certferry.cli.output import Output
from certferry.errors import UsageError

SFTP_VARIABLE = "CERTFERRY_SFTP_PASSWORD"


class PasswordMissingError(UsageError):
    """A password is needed and nobody can be asked for it."""

    code = "cli.password-missing"
    remedy = f"Give --password-file FILE, set {SFTP_VARIABLE}, or run it on a terminal."


class PasswordEmptyError(UsageError):
    """A password file without a password."""

    code = "cli.password-empty"
    remedy = "Write the password into the first line of the file."


def sftp_password(out: Output, file: Path | None, known: str) -> str:
    """Take the password from ``file``, the environment, what is saved already, or ask."""
    if file is not None:
        return first_line(file)
    if SFTP_VARIABLE in os.environ:
        return os.environ[SFTP_VARIABLE]
    if known:
        return known
    if not out.can_ask:
        raise PasswordMissingError("no SFTP password was given")
    asked: str = typer.prompt("SFTP password", hide_input=True, err=True)
    return asked


def bundle_password(out: Output, why: str) -> str:
    """Ask for the password of a PKCS#12 file that none of the known ones opens."""
    out.say(why)
    asked: str = typer.prompt("PKCS#12 password", hide_input=True, err=True)
    return asked


def first_line(file: Path) -> str:
    """Read a password file: its first line, without the line end; raises ``PasswordEmptyError``."""
    line = read_text(file).split("\n", 1)[0].rstrip("\r")
    if not line:
        raise PasswordEmptyError(f"the first line of {file} is empty")
    return line
