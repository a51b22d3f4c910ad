"""/audit: who did what."""

from certferry.web.api.shared import ChosenCluster, Part, SearchText, protected
from certferry.web.models import Page
from certferry.web.views import audit_view, page
from certferry.web.work_models import AuditAnswer, AuditCheck

router = protected("audit", "/audit")


@router.get("")
def lines(cluster: ChosenCluster, part: Part, text: SearchText = "") -> Page[AuditAnswer]:
    """List the audit log, latest first."""
    return Page[AuditAnswer](**page(cluster.find_audit(text, part), part, audit_view))


@router.get("/check")
def check(cluster: ChosenCluster) -> AuditCheck:
    """Check that no line is missing or was changed."""
    return AuditCheck(lines=cluster.verify_audit())
