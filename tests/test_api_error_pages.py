"""The page of every error code, and the files that describe the API to programs."""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from rest_framework import serializers

from catalog.images.reencoding import RejectReason
from closient.http.docs.error_guide import FIELD_CODES, GUIDES
from closient.http.problems import ERRORS
from closient.http.serializers import RowSerializer
from tests.clients import API, client_of, stats_path
from tests.factories import OrganizationFactory
from tests.operations import documented
from tests.test_house import modules_of

# The position of an error code among the arguments of a call.
CODE_AT = {
    "FieldError": 1,
    "parameter_error": 1,
    "_invalid": 1,
    "after_problem": 0,
    "InvalidParameter": 0,
    "InvalidGtin": 0,
    "fail": 0,
}
PACKAGES = (
    "catalog",
    "certifications",
    "closient.accounts",
    "closient.http",
    "dashboard.api",
    "dashboard.bulk_edits",
    "offers",
)
WITH_CODE = {
    "InvalidField",
    "ValidationError",
    "ErrorDetail",
    "CleanedField",
    "CurrencyField",
    "__init__",
}
# Errors of Django's own forms.
FORMS = {"catalog/admin_forms.py", "closient/accounts/forms.py", "closient/accounts/pages.py"}


class Text(HTMLParser):
    """Collects the text of each element of a tag."""

    def __init__(self, page: str, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == self.kind:
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1] += data


def page_of(path: str) -> str:
    """Return a page as an anonymous visitor gets it."""
    response = Client().get(path)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = response.content.decode()
    assert not re.search(r"\sstyle=|<style|<script(?![^>]*\ssrc=)", page)
    return page


@pytest.mark.parametrize("error_code", ERRORS)
def test_every_error_has_a_page_with_causes_and_fixes(error_code: str) -> None:
    kind = ERRORS[error_code]
    assert kind.type == f"/docs/errors/{error_code}"
    page = page_of(kind.type)
    shown = html.unescape(page)
    assert f"{kind.title} <code>{error_code}</code>" in page
    assert f"HTTP status {kind.status}." in shown
    guide = GUIDES[error_code]
    assert guide.causes
    assert guide.cures
    for sentence in (*guide.causes, *guide.cures):
        assert f"<li>{sentence}</li>" in shown
        assert sentence.endswith(".")
    example = json.loads(shown.split('<pre tabindex="0">')[1].split("</pre>")[0])
    assert (example["type"], example["error_code"]) == (kind.type, error_code)
    assert example["status"] == kind.status


def test_all_errors_are_on_one_page() -> None:
    links = re.findall(r'href="(/docs/errors/\w+)"', page_of("/docs/errors/"))
    assert links == [kind.type for kind in ERRORS.values()]
    assert set(GUIDES) == set(ERRORS)


def test_unknown_error_code_has_no_page() -> None:
    for path in ("/docs/errors/nonsense", "/docs/errors/%3Cscript%3E", "/docs/errors/not_found/"):
        assert Client().get(path).status_code == 404
    assert Client().post("/docs/errors/not_found").status_code == 405


@pytest.mark.django_db
def test_type_of_a_problem_links_to_its_page() -> None:
    organization = OrganizationFactory()
    client = client_of(organization)
    rejected = [
        Client().get(stats_path(organization)),
        client.get(f"{API}/nothing"),
        client.get(f"{stats_path(organization)}?complete_at=0"),
        client.post(stats_path(organization)),
    ]
    for response in rejected:
        problem = response.json()
        assert f"<code>{problem['error_code']}</code></h1>" in page_of(problem["type"])


def calls_of(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else None
            name = node.func.id if isinstance(node.func, ast.Name) else name
            yield name or "", node


def codes_in_our_code() -> set[str]:
    """Return every code that the project's code puts into `errors`."""
    found = {reason.value for reason in RejectReason} - {"too_large", "unknown_kind"}
    for package in PACKAGES:
        for path in modules_of(package):
            if path.as_posix().endswith(tuple(FORMS)):
                continue
            for name, call in calls_of(path):
                given = [k.value for k in call.keywords if k.arg == "code" and name in WITH_CODE]
                if name in CODE_AT and len(call.args) > CODE_AT[name]:
                    given.append(call.args[CODE_AT[name]])
                found |= {one.value for one in given if isinstance(one, ast.Constant)}
    return found


def fields_of(field: Any) -> Iterator[Any]:
    """Yield a field of a body and its nested fields."""
    if not field.read_only:
        yield field
        inner = field.fields.values() if isinstance(field, serializers.Serializer) else []
        for one in [*inner, *([field.child] if hasattr(field, "child") else [])]:
            yield from fields_of(one)


def our_serializers(base: Any = serializers.Serializer) -> Iterator[Any]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith(PACKAGES) and kind is not RowSerializer:
            yield kind
        yield from our_serializers(kind)


def codes_of_the_framework() -> set[str]:
    """Return every code that the REST framework fields of bodies put into `errors`."""
    found = set()
    for kind in our_serializers():
        for field in fields_of(kind()):
            found |= {validator.code for validator in field.validators}
            for base in type(field).__mro__:
                if base.__module__.startswith("rest_framework"):
                    found |= set(getattr(base, "default_error_messages", {}))
    return found


def test_every_field_error_code_is_documented() -> None:
    # All serializers are loaded once the document is generated.
    assert list(documented())
    found = codes_in_our_code() | codes_of_the_framework()
    assert len(found) > 40
    assert set(FIELD_CODES) == found
    terms = Text(page_of("/docs/errors/validation_error"), "dt").found
    listed = {term.strip().split("\n")[0] for term in terms}
    assert set(FIELD_CODES) <= listed
    # Errors of database constraints have the name of the constraint as their code.
    assert "certifications_assignment_dates_in_order" in listed


def test_llms_txt_lists_every_operation_and_its_links_work() -> None:
    response = Client().get("/llms.txt")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    text = response.content.decode()
    assert text.startswith("# Dashboard API\n\n> How healthy")
    operations = re.findall(r"^- `(\w+ /\S+)`: (.+)$", text, re.M)
    assert operations[0] == (
        "GET /dashboard/api/v1/stats/{organization_id}",
        "Get dashboard statistics",
    )
    assert sorted(operations) == sorted((n, o["summary"]) for n, o in documented())
    links = re.findall(r"\]\((\S+)\)", text)
    assert len(links) == 3
    for link in links:
        assert link.startswith("http://testserver/")
        assert Client().get(urlsplit(link).path).status_code == 200


@pytest.mark.django_db
def test_api_catalog_links_to_description_documentation_and_status() -> None:
    response = Client().get("/.well-known/api-catalog", headers={"Accept": "text/html"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == (
        'application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"'
    )
    apis = response.json()["linkset"]
    assert [api["anchor"] for api in apis] == [
        "http://testserver/dashboard/api/v1/",
        "http://testserver/account/api/v1/",
    ]
    for api in apis:
        assert set(api) == {"anchor", "service-desc", "service-doc", "service-meta", "status"}
        for link in (one for links in api.values() if links != api["anchor"] for one in links):
            result = Client().get(urlsplit(link["href"]).path)
            assert result.status_code == 200, link
            assert result.headers["Content-Type"].split(";")[0] == link["type"]
    head = Client().head("/.well-known/api-catalog")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Link"] == '</.well-known/api-catalog>; rel="api-catalog"'
