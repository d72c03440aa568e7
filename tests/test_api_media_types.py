"""The media types that every operation accepts in ``Accept``."""

from __future__ import annotations

from typing import Any

import pytest

from closient.http.problems import MEDIA_TYPE
from tests.clients import client_of, problem
from tests.operations import (
    MANAGER,
    OPERATIONS,
    call,
    document_of,
    documented,
    sample_data,
    unknown_ids,
)

pytestmark = pytest.mark.usefixtures("media")

JSON = "application/json"
# The defaults of axios, browsers and curl.
DEFAULT_ACCEPTS = ["application/json, text/plain, */*", "*/*", "text/html,*/*;q=0.8"]


def media_types(operation: dict[str, Any]) -> list[str]:
    """Return the documented media types of an operation's responses."""
    components = document_of()["components"]["responses"]
    found: set[str] = set()
    for response in operation["responses"].values():
        if "$ref" in response:
            response = components[response["$ref"].rsplit("/", 1)[1]]  # noqa: PLW2901
        found |= set(response.get("content", {}))
    return sorted(found)


# Operations without files take turns with the defaults, which they all treat alike.
CASES = [
    (name, accept)
    for number, (name, operation) in enumerate(documented())
    for accept in dict.fromkeys(
        [*media_types(operation), ", ".join(media_types(operation)), *DEFAULT_ACCEPTS]
        if OPERATIONS[name].files
        else [", ".join(media_types(operation)), DEFAULT_ACCEPTS[number % len(DEFAULT_ACCEPTS)]]
    )
]


def test_responses_are_documented_as_json_or_as_files() -> None:
    for name, operation in documented():
        has_content = OPERATIONS[name].status != 204
        own = OPERATIONS[name].files or ([JSON] if has_content else [])
        assert media_types(operation) == sorted([*own, MEDIA_TYPE]), name


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "accept"), CASES)
def test_every_documented_media_type_is_served(name: str, accept: str) -> None:
    own = sample_data()
    client = client_of(own.organization, role=MANAGER)
    response = call(client, name, own.ids, headers={"Accept": accept})
    assert response.status_code == OPERATIONS[name].status, response.content
    if response.status_code == 204:
        assert response.content == b""
    elif files := OPERATIONS[name].files:
        sent = response.headers["Content-Type"].partition(";")[0]
        assert sent == (accept if accept in files else files[0])
        assert response.file_content
    else:
        assert response.headers["Content-Type"] == JSON


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name in OPERATIONS if OPERATIONS[name].status == 204])
@pytest.mark.parametrize("accept", ["text/html", "application/xml", "nonsense"])
def test_accept_does_not_affect_responses_without_content(name: str, accept: str) -> None:
    own = sample_data()
    response = call(
        client_of(own.organization, role=MANAGER), name, own.ids, headers={"Accept": accept}
    )
    assert (response.status_code, response.content) == (204, b"")
    assert "406" not in dict(documented())[name]["responses"]


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name in OPERATIONS if "{" in name])
@pytest.mark.parametrize("accept", [JSON, "text/html", "image/png;q=0.5"])
def test_errors_ignore_accept(name: str, accept: str) -> None:
    own = sample_data()
    response = call(
        client_of(own.organization, role=MANAGER),
        name,
        unknown_ids(),
        OPERATIONS[name].body(own.ids),
        headers={"Accept": accept},
    )
    assert problem(response)["error_code"] == "not_found"
