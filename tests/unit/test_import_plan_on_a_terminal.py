"""How the plan of an import is printed for people."""

import pytest

from certferry.bulk.importing import ImportPlan
from certferry.cli.bulk_view import show_plan
from certferry.cli.output import Output
from certferry.trust.import_rules import PlannedChange
from certferry.trust.purpose import Store
from certferry.trust.store_rules import Action, Code
from conftest import MakeCertificate


def test_what_is_refused_is_counted_and_its_mending_told(
    make_certificate: MakeCertificate, capsys: pytest.CaptureFixture[str]
) -> None:
    late, good = make_certificate("CN=late"), make_certificate("CN=good")
    changes = (
        PlannedChange(Action.REFUSE, Store.CALLMANAGER_TRUST, late, "osaka", "expired", code=Code.EXPIRED),
        PlannedChange(Action.REFUSE, Store.PHONE_SAST_TRUST, late, "osaka", "expired", code=Code.EXPIRED),
        PlannedChange(Action.ADD, Store.TOMCAT_TRUST, good, "osaka", "new in this store"),
    )
    show_plan(Output(as_json=False), ImportPlan((), (), changes, {}, (), ""), "tokyo", verbose=False)
    told = capsys.readouterr().err
    assert "warning 1 certificates are refused" in told, "each certificate once, however many stores it was meant for"
    assert "export there and consolidate again" in told


def test_a_plan_without_refusals_warns_of_none(
    make_certificate: MakeCertificate, capsys: pytest.CaptureFixture[str]
) -> None:
    change = PlannedChange(Action.ADD, Store.TOMCAT_TRUST, make_certificate("CN=good"), "osaka", "new in this store")
    show_plan(Output(as_json=False), ImportPlan((), (), (change,), {}, (), ""), "tokyo", verbose=False)
    assert capsys.readouterr().err == ""
