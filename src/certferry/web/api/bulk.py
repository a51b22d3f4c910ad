"""/bulk: the SFTP form, the exchange directory, and its buttons as jobs."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Path

from certferry.bulk.settings import SettingsMissingError, SftpSettings
from certferry.bulk.trying import merge_settings
from certferry.web.api.shared import ChosenCluster, Context, IdempotencyKey, Part, TheJobs, protected
from certferry.web.models import Page
from certferry.web.security import Operator
from certferry.web.views import history_view, job_view, page, sftp_view
from certferry.web.work import (
    ExchangeWish,
    start_consolidate,
    start_export,
    start_import,
    start_plan,
    start_test,
)
from certferry.web.work_models import (
    ConsolidateRequest,
    DirectoryAnswer,
    ExchangeRequest,
    HistoryAnswer,
    ImportRequest,
    JobAnswer,
    PlanRequest,
    SftpAnswer,
    SftpRequest,
    TestRequest,
    UndoneAnswer,
    UndoneChange,
)

router = protected("bulk", "/bulk")
ACCEPTED = 202


@router.get("/settings")
def settings(cluster: ChosenCluster) -> SftpAnswer | None:
    """Give the SFTP settings, without the password; null while there are none."""
    try:
        return sftp_view(SftpSettings.load(cluster))
    except SettingsMissingError:
        return None


@router.put("/settings")
def save_settings(wanted: SftpRequest, cluster: ChosenCluster, _user: Operator) -> SftpAnswer:
    """Save the SFTP settings. A password saved for another server or user is forgotten."""
    merged = merge_settings(cluster, _given(wanted))
    merged.save(cluster)
    shown = {"host": merged.host, "port": merged.port, "user": merged.user, "directory": merged.directory}
    cluster.accounts.note("save-sftp", shown)
    return sftp_view(merged)


@router.post("/test", status_code=ACCEPTED)
async def test(
    wanted: TestRequest, cluster: ChosenCluster, jobs: TheJobs, user: Operator, key: IdempotencyKey = None
) -> JobAnswer:
    """Start a login with the saved settings; the job's result has the server's host key."""
    return job_view(await start_test(jobs, cluster, user, key, accept_new_host_key=wanted.accept_new_host_key))


@router.get("/files")
async def files(cluster: ChosenCluster, context: Context) -> DirectoryAnswer:
    """Read the exchange directory anew: the files of every cluster, and what is offered next."""
    return DirectoryAnswer.model_validate(await context.exchanges.describe(cluster))


@router.post("/export", status_code=ACCEPTED)
async def export(
    wanted: ExchangeRequest,
    cluster: ChosenCluster,
    context: Context,
    jobs: TheJobs,
    user: Operator,
    key: IdempotencyKey = None,
) -> JobAnswer:
    """Start *Export*."""
    wish = ExchangeWish(tuple(wanted.types), break_lock=wanted.break_lock)
    return job_view(await start_export(jobs, cluster, user, wish, key, context.clock))


@router.post("/consolidate", status_code=ACCEPTED)
async def consolidate(
    wanted: ConsolidateRequest,
    cluster: ChosenCluster,
    context: Context,
    jobs: TheJobs,
    user: Operator,
    key: IdempotencyKey = None,
) -> JobAnswer:
    """Start *Consolidate*; on one publisher only, either one."""
    wish = ExchangeWish(tuple(wanted.types), wanted.accept_unsigned, wanted.break_lock)
    return job_view(await start_consolidate(jobs, cluster, user, wish, key, context.clock))


@router.post("/plan", status_code=ACCEPTED)
async def plan(
    wanted: PlanRequest,
    cluster: ChosenCluster,
    context: Context,
    jobs: TheJobs,
    user: Operator,
    key: IdempotencyKey = None,
) -> JobAnswer:
    """Start planning an import; the job's result has the changes, and ``plan`` for /bulk/import."""
    wish = ExchangeWish(tuple(wanted.types), wanted.accept_unsigned, expect=wanted.expect)
    return job_view(await start_plan(jobs, cluster, user, wish, key, context.clock))


@router.post("/import", status_code=ACCEPTED)
async def import_(
    wanted: ImportRequest,
    cluster: ChosenCluster,
    context: Context,
    jobs: TheJobs,
    user: Operator,
    key: IdempotencyKey = None,
) -> JobAnswer:
    """Start *Import* of a plan: one transaction, whose ``undo`` is in the job's result."""
    return job_view(await start_import(jobs, cluster, user, wanted.plan, key, context.clock))


@router.get("/history")
def history(cluster: ChosenCluster, part: Part) -> Page[HistoryAnswer]:
    """List the changes of the trust stores, latest first."""
    return Page[HistoryAnswer](**page(cluster.find_history(part), part, history_view))


@router.post("/undo/{identifier}")
def undo(identifier: Annotated[str, Path(max_length=64)], cluster: ChosenCluster, _user: Operator) -> UndoneAnswer:
    """Put the trust stores back to what they were before one change."""
    done = cluster.undo(identifier)
    changes = [UndoneChange(action=c.action, store=c.store, sha256=c.certificate.sha256) for c in done]
    return UndoneAnswer(undone=identifier, changes=changes)


def _given(wanted: SftpRequest) -> Mapping[str, Any]:
    password = wanted.password.get_secret_value() if wanted.password else None
    return {**wanted.model_dump(exclude={"password"}), "password": password}
