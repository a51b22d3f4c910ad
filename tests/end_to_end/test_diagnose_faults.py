"""Every fault put in on purpose: the diagnosis of its verification, and of the phone that really failed, is right."""

import json
from pathlib import Path

import pytest

from certferry.lab.faults import FAULTS
from certferry.lab.keys import PooledKeys
from certferry.lab.witness import Fault, witness
from certferry.migrate.diagnose import diagnose
from certferry.migrate.report import render_html

ROOT_CAUSES = {
    "not-exchanged": "import.wrong-side",
    "missing-in-phone-sast-trust": "tvs.role",
    "imported-on-the-wrong-side": "import.wrong-side",
    "one-tftp-node-not-exported": "tvs.invalid",
    "itlrecovery-not-exchanged": "import.itlrecovery-missing",
    "capf-not-exchanged": "registration.lsc-foreign-capf",
    "tomcat-not-exchanged": "emcc.tomcat-unknown",
    "tvs-down-on-one-node": "tvs.unreachable",
    "tvs-down": "tvs.unreachable",
    "tvs-certificate-regenerated": "tvs.certificate-unknown",
    "itl-not-rebuilt": "tvs.certificate-unknown",
    "wrong-tvs-list": "tvs.unreachable",
    "lagging-subscriber": "import.replication-lag",
    "same-subject-collision": "import.same-subject",
    "expired-signer": "list.expired",
    "rollback-at-the-source": "rollback.source",
    "rollback-at-the-source-non-secure": "rollback.source",
    "rollback-at-the-destination": "rollback.https-dead",
    "stale-ctl-on-a-non-secure-destination": "ctl.stale-on-server",
    "stale-ctl-in-mixed-mode": "ctl.outdated",
    "from-secure-to-non-secure": "ctl.left-over",
    "tampered-itl": "list.signature",
    "tampered-ctl": "list.signature",
    "broken-itl": "list.malformed",
    "itl-above-64-kb": "list.too-big",
    "no-itl": "list.itl-missing",
    "sha-512-for-an-old-phone": "list.algorithm",
    "unknown-at-the-destination": "file.device-unknown",
}
QUICK = {"missing-in-phone-sast-trust", "rollback-at-the-destination", "no-itl"}
ROWS = [
    pytest.param(fault, id=fault.name, marks=[] if fault.name in QUICK else [pytest.mark.slow])
    for fault in FAULTS
    if fault.name in ROOT_CAUSES
]


@pytest.mark.parametrize("fault", ROWS)
async def test_the_cause_of_a_fault_is_found(fault: Fault, tmp_path: Path, key_pool: PooledKeys) -> None:
    seen = await witness(fault, tmp_path, key_pool)
    found = diagnose(json.dumps(seen.verification.to_json()))
    assert ROOT_CAUSES[fault.name] in {each.code for each in found}
    ended = {"outcome": "ended", "code": seen.outcome.code, "reason": seen.outcome.reason}
    assert diagnose(json.dumps(ended))[0].code == fault.code
    words = "Do not move phones yet" if not seen.verification.ok else "✓"
    assert words in render_html(seen.verification)


def test_most_faults_have_a_root_cause_here() -> None:
    """New faults may be added first; the causes of those known may not get lost."""
    assert set(ROOT_CAUSES) <= {fault.name for fault in FAULTS}
