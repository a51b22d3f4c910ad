"""``certferry diagnose``: from a failed phone to the step, the cause, the check that settles it and the fix."""

import codecs
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from certferry.cli.exit_codes import ExitCode
from certferry.cli.files import FileUnreadableError
from certferry.cli.options import JsonOption, output
from certferry.cli.output import Output
from certferry.errors import UsageError
from certferry.migrate.causes import Language, Text
from certferry.migrate.diagnose import (
    LONGEST_LINE,
    NOTHING_RECOGNISED,
    Diagnosis,
    Hints,
    diagnose,
    diagnose_lines,
)
from certferry.migrate.health import Health, went_well
from certferry.migrate.record import devices_in, looks_like_record, parse_record
from certferry.migrate.signs import Certainty, clip

LARGEST_INPUT = 64 * 1024 * 1024
PHONES_NAMED = 10
"""How many phones of a result are named to somebody who asks for another one."""
_PIECE = 1 << 16
_LINE_END = re.compile(r"\r\n|\r|\n")
_LABELS = {
    "en": ("step", "evidence", "settle", "fix"),
    "ja": ("段階", "根拠", "確認方法", "対処"),
}
_CERTAINTY_IN_JAPANESE = {
    Certainty.CERTAIN: "確実",
    Certainty.LIKELY: "有力",
    Certainty.POSSIBLE: "可能性あり",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found; ``health`` is known of a result in which nothing failed, ``absence`` of one without the phone."""

    found: tuple[Diagnosis, ...]
    health: Health | None = None
    absence: Text | None = None


class NothingGivenError(UsageError):
    """Diagnose was given nothing to look at."""

    code = "cli.nothing-to-diagnose"
    remedy = "Name a FILE, pipe a log in, or give --message 'Trust List Update Failed'."


LanguageOption = Annotated[Language, typer.Option("--lang", help="Language of the answer.")]


def diagnose_command(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE|-]", help="A log, a trace or a result in JSON; - or nothing: stdin.")
    ] = None,
    message: Annotated[
        list[str] | None, typer.Option("--message", metavar="TEXT", help="A status message, as the phone shows it.")
    ] = None,
    device: Annotated[str, typer.Option(help="SEP<MAC>: only this phone of a result, and for exact commands.")] = "",
    tvs: Annotated[str, typer.Option(metavar="HOST", help="A TVS node of the source, for exact commands.")] = "",
    destination: Annotated[
        str, typer.Option(metavar="HOST", help="A TFTP node of the destination, for exact commands.")
    ] = "",
    language: LanguageOption = "en",
    as_json: JsonOption = False,
) -> None:
    """Say which step of a migration broke, why, what would settle it, and what mends it; exit 4 when nothing is known.

    Of a result in which nothing failed it says that, and ends with 0.
    Takes the output of rehearse or verify with --json, a phone's status messages or console log, a TVS trace.
    """
    out = output(as_json)
    hints = Hints(device, tvs, destination)
    answer = _of_text("\n".join(message), hints) if message else _look_into(file, hints, out)
    if answer.health:
        _tell_health(out, answer, answer.health, language)
    elif answer.found:
        _tell(out, answer, language)
    else:
        told = (answer.absence or NOTHING_RECOGNISED).of(language)
        out.data({"findings": [], "nothing_recognised": told})
        out.say(told)
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _tell(out: Output, answer: Answer, language: Language) -> None:
    warnings = [answer.absence.of(language)] if answer.absence else []
    out.data({"findings": [each.to_json(language) for each in answer.found], "warnings": warnings})
    for each in answer.found:
        out.text(_in_words(each, language))
    for warning in warnings:
        out.warn(warning)


def _tell_health(out: Output, answer: Answer, health: Health, language: Language) -> None:
    told, findings = health.sentence().of(language), [each.to_json(language) for each in answer.found]
    out.data({"findings": findings, "nothing_failed": told, "unknown": health.unseen})
    out.text("\n  ".join([told, *health.unseen]))


def _in_words(found: Diagnosis, language: Language) -> str:
    step, evidence, settle, fix = _LABELS[language]
    certainty = _CERTAINTY_IN_JAPANESE[found.certainty] if language == "ja" else found.certainty.value
    lines = [
        f"{certainty}: {found.cause.cause.of(language)}",
        *(f"  {evidence}: {line}" for line in found.evidence),
        f"  {step}: {found.step.value} ({found.code})",
        f"  {settle}: {found.settle(language)}",
        f"  {fix}: {found.fix(language)}",
    ]
    return "\n".join(lines) + "\n"


def _look_into(file: Path | None, hints: Hints, out: Output) -> Answer:
    if file is None and sys.stdin.isatty():
        raise NothingGivenError("there is no file, no message and nothing on standard input")
    if file is None or str(file) == "-":
        return _look(sys.stdin.buffer, hints, out)
    try:
        with file.open("rb") as opened:
            return _look(opened, hints, out)
    except OSError as error:
        raise FileUnreadableError(f"cannot read {file}: {error.strerror}") from error


def _look(stream: BinaryIO, hints: Hints, out: Output) -> Answer:
    beginning = stream.read(_PIECE)
    encoding = "utf-16" if beginning[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    pieces = _pieces(beginning, stream, out)
    if looks_like_record(beginning.decode(encoding, "replace")):
        return _of_text(b"".join(pieces).decode(encoding, "replace"), hints)
    return Answer(diagnose_lines(_lines(pieces, encoding), hints))


def _of_text(text: str, hints: Hints) -> Answer:
    found = diagnose(text, hints)
    health = went_well(text, hints.device) if all(each.cause.fine for each in found) else None
    return Answer(found, health, _absence(text, hints.device, also_of_none=not found) if hints.device else None)


def _absence(text: str, device: str, *, also_of_none: bool) -> Text | None:
    """Say that a result does not tell of this phone, and of which it does; None where it does, and of other texts.

    What is about no phone at all, such as a trust list, may well be what was found: that is said ``also_of_none``.
    """
    record = parse_record(text)
    there = () if record is None else devices_in(record)
    if record is None or device in there or not (there or also_of_none):
        return None
    named, more = [clip(name) for name in there[:PHONES_NAMED]], len(there) - PHONES_NAMED
    english = f"These do: {', '.join(named)}{f' and {more} more' if more > 0 else ''}." if there else "No phone does."
    japanese = f"ある電話機: {'、'.join(named)}{f'、ほか {more} 台' if more > 0 else ''}。" if there else ""
    return Text(
        f"{device} does not appear in this result. {english}",
        f"{device} はこの結果にありません。{japanese or 'この結果には電話機がひとつもありません。'}",
    )


def _pieces(beginning: bytes, stream: BinaryIO, out: Output) -> Iterator[bytes]:
    """Read on until the end or the limit, whichever comes first."""
    taken, piece = 0, beginning
    while piece and taken < LARGEST_INPUT:
        yield piece
        taken += len(piece)
        piece = stream.read(_PIECE)
    if piece:
        out.warn(f"only the first {LARGEST_INPUT >> 20} MB were read; cut the log to the minutes of the failure")


def _lines(pieces: Iterable[bytes], encoding: str) -> Iterator[str]:
    """Split into lines, however they end; a line without an end is given out in parts."""
    decoder, rest = codecs.getincrementaldecoder(encoding)("replace"), ""
    for piece in pieces:
        *whole, rest = _LINE_END.split(rest + decoder.decode(piece))
        yield from whole
        if len(rest) > LONGEST_LINE:
            yield rest
            rest = ""
    yield rest + decoder.decode(b"", final=True)
