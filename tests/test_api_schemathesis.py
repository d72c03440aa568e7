"""Requests made up from the OpenAPI document: no crash, and no answer that is not documented.

``SCHEMATHESIS_CASES`` raises the number of cases (500 without it).
"""

from __future__ import annotations

import datetime
import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from closient.api.documents import document
from closient.api.ids import format_id
from closient.wsgi import application
from tests.clients import API, GENEROUS, key_of
from tests.factories import OrganizationFactory, ProductFactory

CASES = int(os.environ.get("SCHEMATHESIS_CASES", "500"))
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@pytest.fixture
def _open_house(settings: Settings) -> None:
    settings.API_LIMIT_ADDRESS_PER_MINUTE = GENEROUS
    settings.API_LIMIT_ADDRESS_PER_DAY = GENEROUS
    settings.ALLOWED_HOSTS = ["localhost"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_open_house")
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_every_answer_is_documented(mode: GenerationMode) -> None:
    assert document()
    schema = schemathesis.openapi.from_wsgi(f"{API}/openapi.json", application)
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization)
    headers = {"X-API-Key": key_of(organization, limit_per_minute=GENEROUS, limit_per_day=GENEROUS)}
    known = {"organization_id": format_id(organization.id), "gtin": product.gtin}
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 2
    for operation in operations:

        @settings(
            max_examples=max(1, CASES // len(operations) // len(MODES)),
            deadline=None,
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
            if is_known:
                case.path_parameters = {
                    name: known.get(name, value) for name, value in case.path_parameters.items()
                }
                if mode is GenerationMode.NEGATIVE:
                    # With a right path it is open what, if anything, is wrong with the rest.
                    excluded += [negative_data_rejection, positive_data_acceptance]
                elif "as_of" in case.query:
                    # That it lies in the future cannot be said in the document.
                    day = organization.today() + datetime.timedelta(days=days_ahead)
                    case.query["as_of"] = day.isoformat()
            case.call_and_validate(headers=headers, excluded_checks=excluded)

        check()
