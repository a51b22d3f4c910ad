"""What ``rehearse`` and ``verify`` share: which clusters, which phones, and how a result is printed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from certferry.cli.files import read_phones, write_file
from certferry.cli.output import Output
from certferry.cluster.phones import device_name
from certferry.migrate.place import HTTP_PORT, TVS_PORT, Place
from certferry.migrate.rehearse import Rehearsed, choose_phones
from certferry.migrate.report import render_html
from certferry.migrate.result import PhoneResult, Verification
from certferry.trust.list_check import Check

_PLACE = "HOST[:PORT]|FOLDER"
SourceOption = Annotated[
    list[str],
    typer.Option("--source", metavar=_PLACE, help="A TFTP node the phones leave (repeatable), or the cluster's place."),
]
DestinationOption = Annotated[
    list[str],
    typer.Option("--destination", metavar=_PLACE, help="A TFTP node they go to (repeatable), or the cluster's place."),
]
DeviceOption = Annotated[
    list[str] | None, typer.Option("--device", metavar="SEP<MAC>", help="A phone both clusters know; repeatable.")
]
DevicesOption = Annotated[
    Path | None, typer.Option("--devices", metavar="CSV", help="Phones, as for 'phone import': column device, model.")
]
PhonesOption = Annotated[
    int | None,
    typer.Option("--phones", min=1, max=10_000, help="How many virtual phones, when none is named; they boot at once."),
]
ModelOption = Annotated[str, typer.Option("--model", help="Model of phones whose model is not known.")]
HttpPortOption = Annotated[int, typer.Option("--http-port", help="Port of the file service over HTTP.")]
TvsPortOption = Annotated[int, typer.Option("--tvs-port", help="TVS port where no configuration names one.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for TVS and HTTP.")]
ReportOption = Annotated[
    str | None, typer.Option("--report", metavar="FILE.html", help="Also write one page for the change board.")
]
DEFAULT_MODEL, DEFAULT_TIMEOUT = "8861", 5.0


def places(
    source: Sequence[str], destination: Sequence[str], *, http_port: int = HTTP_PORT, tvs_port: int = TVS_PORT
) -> tuple[Place, Place]:
    """Read both clusters' places; raises ``EndpointInvalidError``."""
    first, second = (Place.parse(texts, http_port=http_port, tvs_port=tvs_port) for texts in (source, destination))
    return first, second


def phones_of(
    source: Place, devices: Sequence[str] | None, csv: Path | None, count: int | None, model: str
) -> list[Rehearsed]:
    """Say which phones: named, of the CSV, else of the source's database or made up."""
    listed = read_phones(csv) if csv else []
    chosen = [Rehearsed(phone.device, phone.model) for phone in listed]
    names = [device_name(text) for text in devices or []]
    if names or not chosen:
        chosen = [*choose_phones(source, names, count, model), *chosen]
    return list({phone.device: phone for phone in chosen}.values())


def print_result(out: Output, result: Verification, *, everything: bool = True) -> None:
    """Print phones and checks for people; without ``everything`` only the checks that are no pass."""
    if out.as_json:
        out.data(result.to_json())
        return
    shown = [check for check in result.checks if everything or check.verdict != "pass"]
    if shown:
        print_checks(out, shown)
    print_remedies(out, shown)
    out.text("")
    phones = [(p.device, p.outcome, p.step, p.reason) for p in result.phones[:100]]
    out.table(("phone", "outcome", "step", "reason"), phones, sentences=True)
    out.text(f"\n{summary(result)}")


def print_checks(out: Output, shown: Sequence[Check]) -> None:
    """Print what was looked at and seen, a row for each check."""
    rows = [(check.verdict, check.id, check.title, check.evidence) for check in shown]
    out.table(("verdict", "check", "what", "evidence"), rows, sentences=True)


def print_remedies(out: Output, shown: Sequence[Check]) -> None:
    """Print what mends each check that does not pass, once for all that it mends."""
    for verdict in ("fail", "warn", "unknown"):
        found = [check for check in shown if check.verdict == verdict and check.remedy]
        for remedy in dict.fromkeys(check.remedy for check in found):
            titles = dict.fromkeys(f"{verdict}: {check.title}" for check in found if check.remedy == remedy)
            out.text("\n".join(("", *titles, f"  {remedy}")))


def write_report(out: Output, result: Verification, to: str | None) -> None:
    """Write the page for the change board where it was asked for."""
    if to:
        write_file(to, render_html(result).encode())
        out.say(f"Wrote {to}, one page for the change board.")


def summary(result: Verification) -> str:
    """Say the whole in one line."""
    counts = ", ".join(f"{number} {verdict}" for verdict, number in result.counts.items() if number)
    outcomes = [phone.outcome for phone in result.phones]
    told = ", ".join(f"{outcomes.count(each)} {each}" for each in dict.fromkeys(outcomes))
    verdict = "nothing fails" if result.ok else "it would fail"
    return f"{result.source} -> {result.destination}: {verdict}. Checks: {counts}. Phones: {told or 'none'}"


def explain(out: Output, phone: PhoneResult) -> None:
    """Tell every decision of one rehearsed boot."""
    out.text(f"{phone.device}: {phone.outcome}")
    for entry in phone.journal:
        details = [entry.signer and f"signer {entry.signer}", entry.found and f"found {entry.found}"]
        details += [f"roles {list(entry.roles)}" if entry.roles else "", entry.member and f"from {entry.member}"]
        told = "; ".join(detail for detail in details if detail)
        out.text(f"  [{entry.step}] {entry.text}" + (f" ({told})" if told else ""))
