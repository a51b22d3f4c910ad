"""The API under /api/v1: everything the pages do."""

from fastapi import APIRouter

from certferry.web.api import (
    audit,
    bulk,
    certificates,
    cluster,
    jobs,
    lists,
    migration,
    phones,
    session,
    tokens,
    users,
    waves,
)
from certferry.web.api.shared import ERRORS

router = APIRouter(responses=ERRORS)
for part in (session, cluster, certificates, lists, phones, bulk, migration, waves, jobs, audit, users, tokens):
    router.include_router(part.router)
