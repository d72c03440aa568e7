"""Requests generated from the OpenAPI document: no crash, and no undocumented response.

``SCHEMATHESIS_CASES`` raises the number of cases (200 without it).
"""

from __future__ import annotations

import datetime
import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from closient.http.docs.documents import document
from tests.clients import NO_LIMIT, key_of
from tests.operations import OPERATIONS, documented, sample_data

CASES = int(os.environ.get("SCHEMATHESIS_CASES", "200"))
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@pytest.fixture
def unlimited_access(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.API_LIMIT_ADDRESS_PER_MINUTE = NO_LIMIT
    settings.API_LIMIT_ADDRESS_PER_DAY = NO_LIMIT
    settings.ALLOWED_HOSTS = ["localhost"]


@functools.cache
def operations() -> dict[str, Any]:
    """Return the operations as schemathesis loads them from the document."""
    # A generated body may be invalid and too long, which is checked first (413): any 4xx is
    # accepted here, and another check ensures that it is documented.
    rejected = {"negative_data_rejection": {"expected-statuses": ["4xx"]}}
    config = schemathesis.Config.from_dict({"checks": rejected})
    schema = schemathesis.openapi.from_dict(json.loads(document()), config=config)
    # Not that of closient.wsgi, which limits the statements of this process.
    schema.app = get_wsgi_application()
    found = (result.ok() for result in schema.get_all_operations())
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


def test_every_operation_is_covered() -> None:
    assert set(operations()) == set(OPERATIONS)


# schemathesis does not close responses, so the file of a workbook is closed by its deletion.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("unlimited_access")
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_every_response_is_documented(mode: GenerationMode) -> None:
    failures = []
    for name, operation in documented():
        if mode is GenerationMode.POSITIVE or can_be_wrong(operation):
            try:
                generate(name, mode, cases=max(1, CASES // len(OPERATIONS) // len(MODES)))
            except Exception as error:
                error.add_note(f"This was {name}.")
                failures.append(error)
    if failures:
        raise ExceptionGroup("Answers that are not documented", failures)


def can_be_wrong(operation: dict[str, Any]) -> bool:
    """Return whether a request of an operation can be invalid. Any string is a valid ETag."""
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    return "requestBody" in operation or bool(names - {"If-Match", "If-None-Match"})


def generate(name: str, mode: GenerationMode, *, cases: int) -> None:
    """Send generated requests of an operation, half of them with existing ids."""
    operation = operations()[name]
    # New rows: the previous operation may have deleted everything.
    sample = sample_data()
    limits = {"limit_per_minute": NO_LIMIT, "limit_per_day": NO_LIMIT}
    headers = {
        "X-API-Key": key_of(sample.organization, role="manager", **limits),
        # schemathesis does not decompress responses of WSGI applications.
        "Accept-Encoding": "identity",
    }

    @settings(
        max_examples=cases,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=mode),
        is_known=st.booleans(),
        days_ahead=st.integers(0, 5 * 365),
    )
    def check(case: Any, is_known: bool, days_ahead: int) -> None:
        excluded: list[Any] = []
        if case.method != "GET" or {"since", "updated_since", "gtin", "after"} & set(case.query):
            # The document cannot express relations between values and to existing rows, check
            # digits or cursors.
            excluded.append(positive_data_acceptance)
        if is_known:
            case.path_parameters = {name: sample.ids[name] for name in case.path_parameters}
            if mode is GenerationMode.NEGATIVE:
                # With an existing path it is unknown whether the rest is invalid.
                excluded += [negative_data_rejection, positive_data_acceptance]
            elif "as_of" in case.query:
                # The document cannot express that it must be in the future.
                day = sample.organization.today() + datetime.timedelta(days=days_ahead)
                case.query["as_of"] = day.isoformat()
        case.call_and_validate(headers=headers, excluded_checks=excluded)

    check()
