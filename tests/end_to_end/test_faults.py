"""Every fault put in on purpose: verification names it, and a phone really ends as the table says."""

import json
from pathlib import Path

import pytest

from certferry.lab.faults import FAULTS, faults_table
from certferry.lab.keys import PooledKeys
from certferry.lab.witness import Fault, witness
from certferry.migrate.diagnose import diagnose
from certferry.phone.outcome import Step

PAGE = Path(__file__).parents[2] / "docs/reference/faults.md"
ROWS = [pytest.param(fault, id=fault.name, marks=[pytest.mark.slow] if fault.slow else []) for fault in FAULTS]


@pytest.mark.parametrize("fault", ROWS)
async def test_a_fault_is_named_and_the_phone_ends_as_predicted(
    fault: Fault, tmp_path: Path, key_pool: PooledKeys
) -> None:
    seen = await witness(fault, tmp_path, key_pool)
    assert set(fault.fails) <= seen.says("fail")
    assert set(fault.warns) <= seen.says("warn")
    assert (seen.outcome.step, seen.outcome.code) == (fault.step, fault.code)
    if fault.step in (Step.CTL, Step.ITL, Step.TVS):
        assert seen.after == seen.before, "something is half installed"
    if fault.step is not Step.REGISTRATION:
        assert not seen.outside.ok, "it fails, and nobody sees it from outside"
    causes = {found.code for found in diagnose(json.dumps(seen.verification.to_json()))}
    assert (fault.cause or fault.code) in causes
    if fault.rehearsed:
        (foretold,) = seen.verification.phones
        assert (foretold.step, foretold.code) == (fault.step, fault.code)


def test_every_fault_has_a_name_of_its_own_and_is_named_by_a_check() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(fault.fails or fault.warns for fault in FAULTS)


def test_the_page_of_faults_is_the_table() -> None:
    assert PAGE.read_text() == faults_table(), "run tools/faults-table"
