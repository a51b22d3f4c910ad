"""The phone's decision table, and a picture of a boot drawn from it."""

from collections.abc import Iterator

from markdown import code, table

from certferry.phone.decision import (
    SIGNER_ROLES,
    TVS_ROLES,
    TVS_TABLE,
    Answer,
    Decision,
    Finding,
    Held,
    Kind,
    Verdict,
    decide,
)
from certferry.wire.roles import Role

_AFTER = {Kind.CTL: Kind.ITL, Kind.ITL: Kind.CONFIGURATION, Kind.CONFIGURATION: None}


def _table() -> str:
    return "\n\n".join(f"### {kind}\n\n{_table_of(kind)}" for kind in Kind)


def _table_of(kind: Kind) -> str:
    findings = [finding for finding in Finding if any(_can_be(kind, held, finding) for held in Held)]
    rows = [(finding, *(_cell(kind, held, finding) for held in Held)) for finding in findings]
    return table((f"signer of the {kind}", *(f"phone holds {held}" for held in Held)), rows)


def _cell(kind: Kind, held: Held, finding: Finding) -> str:
    return _verdict(decide(kind, held, finding)) if _can_be(kind, held, finding) else "-"


def _can_be(kind: Kind, held: Held, finding: Finding) -> bool:
    """Leave out what cannot happen: a signer found in a list that is not there, a trust list without a signer."""
    if finding is Finding.UNSIGNED:
        return kind is Kind.CONFIGURATION
    if held is Held.NOTHING:
        return finding is Finding.NOWHERE
    return not (held is Held.ITL and finding is Finding.IN_CTL)


def _verdict(decision: Decision) -> str:
    unverified = "" if decision.verify or decision.verdict is not Verdict.ACCEPT else ", unverified"
    ending = f" ({code(decision.code)})" if decision.code else ""
    return f"**{decision.verdict}**{unverified}: {decision.reason}{ending}"


def _signer_roles() -> str:
    rows = [
        (kind, _roles(SIGNER_ROLES[kind, Kind.CTL]), _roles(SIGNER_ROLES[kind, Kind.ITL]), _roles(TVS_ROLES[kind]))
        for kind in Kind
    ]
    return table(("file", "role it needs in the CTL", "role it needs in the ITL", "role TVS has to report"), rows)


def _roles(roles: frozenset[Role]) -> str:
    return " or ".join(role.name for role in sorted(roles))


def _tvs_table() -> str:
    return table(("answer of TVS", "the phone"), [(answer, _verdict(TVS_TABLE[answer])) for answer in Answer])


def _picture() -> str:
    """Draw the boot: for each file, which reasons lead to which verdict."""
    lines = ["flowchart TD", '    start(["reset"]) --> ctl', *(f"    {line}" for kind in Kind for line in _edges(kind))]
    lines.append('    registration["register with a CallManager"]')
    lines += [f"    {line}" for line in _tvs_edges()]
    lines += ['    keep(["the phone keeps what it had"])']
    return "\n".join(["```mermaid", *lines, "```"])


def _edges(kind: Kind) -> Iterator[str]:
    here, after = kind.lower(), _AFTER[kind]
    there = after.lower() if after else "registration"
    yield f'{here}{{"{kind}: who signed it?"}}'
    if kind is not Kind.CONFIGURATION:
        yield f'{here} -- "the server has none" --> {there}'
    for verdict, target in ((Verdict.ACCEPT, there), (Verdict.ASK_TVS, "tvs"), (Verdict.REJECT, "keep")):
        reasons = _reasons(kind, verdict)
        if reasons:
            yield f'{here} -- "{"<br>".join(reasons)}" --> {target}'


def _reasons(kind: Kind, verdict: Verdict) -> list[str]:
    decisions = (decide(kind, held, f) for held in Held for f in Finding if _can_be(kind, held, f))
    return list(dict.fromkeys(each.reason for each in decisions if each.verdict is verdict))


def _tvs_edges() -> Iterator[str]:
    yield 'tvs{"a TVS of the old configuration,<br>known by the ITL: does it know the signer?"}'
    yield 'tvs -- "none can be asked" --> keep'
    for answer, decision in TVS_TABLE.items():
        target = 'accepted["accepted: on to the next file"]' if decision.verdict is Verdict.ACCEPT else "keep"
        yield f'tvs -- "{answer}" --> {target}'


BLOCKS = {
    "decision-table": _table,
    "signer-roles": _signer_roles,
    "tvs-table": _tvs_table,
    "boot-picture": _picture,
}
