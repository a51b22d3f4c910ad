"""Import plans between being shown and being carried out, kept in the database of the cluster they are for."""

from datetime import datetime, timedelta
from secrets import token_hex

from certferry.bulk.importing import ImportPlan
from certferry.bulk.plan_file import plan_bytes, plan_of
from certferry.cluster.cluster import Cluster
from certferry.errors import UsageError

LIFE = timedelta(days=1)
MOST = 20


class PlanUnknownError(UsageError):
    """There is no import plan of that id for this cluster."""

    code = "web.plan-unknown"
    remedy = "Plan the import again and look at the changes; a plan lasts a day, and until it is carried out."


def keep(cluster: Cluster, made: ImportPlan, now: datetime) -> str:
    """Keep a plan; return its id."""
    identifier = token_hex(8)
    cluster.web_plans.keep(identifier, plan_bytes(made), now, now - LIFE, MOST)
    return identifier


def find(cluster: Cluster, identifier: str, now: datetime) -> ImportPlan:
    """Return a plan for ``cluster``, whichever server made it; raises ``PlanUnknownError``."""
    body = cluster.web_plans.find(identifier, now - LIFE) if identifier.isalnum() else None
    if body is None:
        raise PlanUnknownError(f"there is no plan {identifier!r} for {cluster.name}")
    return plan_of(body)
