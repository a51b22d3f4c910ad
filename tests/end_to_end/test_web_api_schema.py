"""Schemathesis asks the API what its description allows and what it forbids: no 5xx, and only described answers."""

from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from certferry.bulk.refusals import UnreachableError
from certferry.cluster.values import Phone
from certferry.web import work
from certferry.web.exchanges import Exchanges
from conftest import MakeCluster
from web_site import Site

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = 30
EXAMPLES = {GenerationMode.POSITIVE: 20, GenerationMode.NEGATIVE: 10}


@pytest.fixture
def site(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch) -> Site:
    async def nowhere(*_words: object, **_more: object) -> Mapping[str, Any]:
        raise UnreachableError("made-up hosts are not dialled")

    for name in ("in_directory", "try_settings", "_verify", "_rehearse"):
        monkeypatch.setattr(work, name, nowhere)
    monkeypatch.setattr(Exchanges, "describe", nowhere)
    cluster = make_cluster(nodes=1, secure=True)
    cluster.add_phones([Phone("SEP001B54AABBCC")])
    return Site(cluster)


@pytest.mark.slow
@pytest.mark.parametrize("mode", EXAMPLES)
def test_whatever_is_asked_is_answered_as_described(site: Site, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", site.app)
    headers = {"authorization": f"Bearer {site.token()}"}
    asked = set()
    for found in schema.get_all_operations():
        operation: Any = found.ok() if isinstance(found, Ok) else pytest.fail(str(found))

        @settings(
            max_examples=EXAMPLES[mode],
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: Case[Any]) -> None:
            if mode is GenerationMode.POSITIVE:
                case.query.pop("cluster", None)  # made-up clusters are refused before anything else is looked at
            response = case.call(headers=headers)
            case.validate_response(response, checks=CHECKS)
            asked.add((case.method, case.path))

        try:
            holds()
        except Exception as error:
            if "Unsatisfiable" not in type(error).__name__:
                raise
    assert len(asked) >= OPERATIONS
