"""A plan that was kept is the plan that was shown."""

from dataclasses import replace
from datetime import UTC, datetime

from certferry.bulk.importing import Found, ImportPlan
from certferry.bulk.plan_file import plan_bytes, plan_of
from certferry.trust.import_rules import PlannedChange
from certferry.trust.purpose import BulkType, Store
from certferry.trust.store_rules import Action, Code
from conftest import MakeCertificate


def test_a_plan_is_read_as_it_was_written(make_certificate: MakeCertificate) -> None:
    old, new, weak = (make_certificate(f"CN=pub;OU={name}") for name in ("old", "new", "weak"))
    made = ImportPlan(
        (BulkType.TFTP, BulkType.TOMCAT),
        (Found("osaka", BulkType.TFTP, 2),),
        (
            PlannedChange(Action.ADD, Store.TOMCAT_TRUST, new, "osaka", "new in this store"),
            PlannedChange(
                Action.REPLACE, Store.PHONE_SAST_TRUST, new, "osaka", "later", (old,), Code.NEWER, ("not valid yet",)
            ),
            PlannedChange(Action.REFUSE, Store.PHONE_SAST_TRUST, weak, "京都", "too short", code=Code.WEAK_KEY),
        ),
        {"osaka": "ab" * 32, "京都": None},
        ("look at this",),
        "0123",
        {"osaka": datetime(2026, 6, 1, tzinfo=UTC)},
    )
    assert plan_of(plan_bytes(made)) == made


def test_a_certificate_stands_once_however_many_stores_take_it(make_certificate: MakeCertificate) -> None:
    change = PlannedChange(Action.ADD, Store.TOMCAT_TRUST, make_certificate("CN=pub"), "osaka", "new")
    once = ImportPlan((), (), (change,), {}, (), "")
    often = replace(once, changes=(change,) * 100)
    assert len(plan_bytes(often)) < len(plan_bytes(once)) + len(change.certificate.der)
