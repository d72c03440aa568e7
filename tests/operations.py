"""Every operation of the API with a valid request, for tests of all operations."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image

from catalog.completeness import FACTS
from catalog.models import Product
from closient.accounts.actors import acting_as
from closient.accounts.api_keys import create_api_key
from closient.accounts.models import ApiKeyRole, Organization
from closient.changes.models import Cause
from closient.db.ids import format_id
from closient.http.docs.documents import document
from dashboard.models import BulkEdit
from tests.factories import (
    CertificateAttachmentFactory,
    CertificationAssignmentFactory,
    ImportRunFactory,
    ImportSourceFactory,
    OfferFactory,
    OrganizationFactory,
    ProductFactory,
    ProductImageFactory,
    UserFactory,
    gtin,
)

FEED = "https://feeds.example.com/products.csv"
READONLY, EDITOR, MANAGER = ApiKeyRole
# Valid, but not of any product.
UNKNOWN_GTIN = gtin(99_999_999_999)


@dataclasses.dataclass(frozen=True)
class SampleData:
    """An organization with one row of each model, and the ids in paths."""

    organization: Organization
    product: Product
    ids: dict[str, str]


def sample_data(**of_product: Any) -> SampleData:
    """Return a new organization with one row of each model."""
    organization = OrganizationFactory()
    product = ProductFactory(organization=organization, described=True, **of_product)
    image = ProductImageFactory(product=product)
    # At a port that the checker never contacts, so that a check makes no request.
    offer = OfferFactory(product=product, url="https://shop.example.com:444/1", currency="EUR")
    assignment = CertificationAssignmentFactory(product=product)
    attachment = CertificateAttachmentFactory(
        assignment=assignment,
        file=default_storage.save("certificates/2026/11/a.pdf", ContentFile(b"%PDF-1.7 %%EOF")),
    )
    source = ImportSourceFactory(organization=organization)
    run = ImportRunFactory(
        organization=organization,
        source=None,
        status="checked",
        file="",
        found={
            **{"format": "delimited", "encoding": "utf-8", "delimiter": ","},
            **{"is_compressed": False, "columns": [], "ignored": ["Nr", "Name"]},
            "samples": [{"column": "Nr", "values": []}, {"column": "Name", "values": []}],
        },
        rejects_file=storages["imports"].save("rejects", ContentFile(b"gtin,name")),
    )
    edit = BulkEdit.objects.create(organization=organization, kind="offers")
    with acting_as("Anna", Cause.PAGE) as change:
        Product.objects.filter(pk=product.pk).update(description="Changed")
    key, _ = create_api_key(name="Sample", organization=organization)
    ids = {
        "organization_id": format_id(organization.id),
        "gtin": product.gtin,
        "image_id": format_id(image.id),
        "offer_id": format_id(offer.id),
        "assignment_id": format_id(assignment.id),
        "attachment_id": format_id(attachment.id),
        "key_id": format_id(key.id),
        "import_id": format_id(run.id),
        "source_id": format_id(source.id),
        "bulk_edit_id": format_id(edit.id),
        "change_id": format_id(change.id),
    }
    return SampleData(organization, product, ids)


def unknown_ids() -> dict[str, str]:
    """Return valid ids of no row."""
    never = format_id(UserFactory.build().id)
    names = (
        *("organization_id", "image_id", "offer_id", "assignment_id", "key_id"),
        "attachment_id",
        *("import_id", "source_id", "bulk_edit_id", "change_id"),
    )
    return {**dict.fromkeys(names, never), "gtin": UNKNOWN_GTIN}


def picture() -> SimpleUploadedFile:
    """Return a small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(file, "PNG")
    return SimpleUploadedFile("front.png", file.getvalue(), "image/png")


Body = Callable[[dict[str, str]], Any]


def nothing(ids: dict[str, str]) -> None:
    """Return no body."""
    return


@dataclasses.dataclass(frozen=True)
class Operation:
    """The minimum role of an operation, its status, and its body made from ids.

    ``files`` are the media types of an operation that sends a file instead of JSON.
    """

    role: ApiKeyRole
    status: int
    body: Body = nothing
    is_form: bool = False
    files: tuple[str, ...] = ()


WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
WEIGHTS = {fact.name: 10 for fact in FACTS}
ATTACHMENTS = "/dashboard/api/v1/certifications/{organization_id}/{assignment_id}/attachments"
REJECTS = "GET /dashboard/api/v1/imports/{organization_id}/{import_id}/rejects"
CONTENT = f"GET {ATTACHMENTS}/{{attachment_id}}/content"
# Files that do not change; the others are made for each request.
STORED_FILES = (REJECTS, CONTENT)
OPERATIONS: dict[str, Operation] = {
    "GET /account/api/v1/whoami": Operation(READONLY, 200),
    "GET /account/api/v1/organizations/{organization_id}/allowed-origins": Operation(MANAGER, 200),
    "PUT /account/api/v1/organizations/{organization_id}/allowed-origins": Operation(
        MANAGER, 200, lambda ids: {"origins": ["https://www.example.com"]}
    ),
    "GET /account/api/v1/organizations/{organization_id}/api-keys": Operation(MANAGER, 200),
    "POST /account/api/v1/organizations/{organization_id}/api-keys": Operation(
        MANAGER, 201, lambda ids: {"name": "New"}
    ),
    "GET /account/api/v1/organizations/{organization_id}/api-keys/{key_id}": Operation(
        MANAGER, 200
    ),
    "PATCH /account/api/v1/organizations/{organization_id}/api-keys/{key_id}": Operation(
        MANAGER, 200, lambda ids: {"name": "Changed"}
    ),
    "DELETE /account/api/v1/organizations/{organization_id}/api-keys/{key_id}": Operation(
        MANAGER, 204
    ),
    "POST /account/api/v1/organizations/{organization_id}/api-keys/{key_id}/rotate": Operation(
        MANAGER, 201, lambda ids: {"expires_at": None}
    ),
    "GET /dashboard/api/v1/stats/{organization_id}": Operation(READONLY, 200),
    "GET /dashboard/api/v1/stats/{organization_id}/forecast": Operation(READONLY, 200),
    "GET /dashboard/api/v1/stats/{organization_id}/history": Operation(READONLY, 200),
    "GET /dashboard/api/v1/stats/{organization_id}/opportunities": Operation(READONLY, 200),
    "GET /dashboard/api/v1/stats/{organization_id}/rule": Operation(READONLY, 200),
    "PUT /dashboard/api/v1/stats/{organization_id}/rule": Operation(
        MANAGER, 200, lambda ids: {"weights": WEIGHTS, "threshold": 70}
    ),
    "DELETE /dashboard/api/v1/stats/{organization_id}/rule": Operation(MANAGER, 204),
    "GET /dashboard/api/v1/breakdown/{organization_id}": Operation(READONLY, 200),
    "GET /dashboard/api/v1/changes/{organization_id}": Operation(READONLY, 200),
    "GET /dashboard/api/v1/activity/{organization_id}": Operation(READONLY, 200),
    "GET /dashboard/api/v1/stats/{organization_id}/explain": Operation(READONLY, 200),
    "GET /dashboard/api/v1/trade-items/{organization_id}/{gtin}/history": Operation(READONLY, 200),
    "GET /dashboard/api/v1/bulk-edits/{organization_id}/{bulk_edit_id}": Operation(READONLY, 200),
    "POST /dashboard/api/v1/changes/{organization_id}/{change_id}/undo": Operation(EDITOR, 200),
    "POST /dashboard/api/v1/trade-items/{organization_id}/bulk": Operation(
        EDITOR, 200, lambda ids: {"filter": {}, "set": {"category": "New"}}
    ),
    "POST /dashboard/api/v1/offers/{organization_id}/bulk": Operation(
        EDITOR, 200, lambda ids: {"filter": {}, "set": {"status": "discontinued"}}
    ),
    "POST /dashboard/api/v1/certifications/{organization_id}/bulk": Operation(
        EDITOR, 200, lambda ids: {"filter": {}, "set": {"issuing_body": "New"}}
    ),
    "GET /dashboard/api/v1/trade-items/{organization_id}": Operation(READONLY, 200),
    "POST /dashboard/api/v1/trade-items/{organization_id}": Operation(
        EDITOR, 201, lambda ids: {"gtin": gtin(77), "name": "New"}
    ),
    "POST /dashboard/api/v1/trade-items/{organization_id}/batch": Operation(
        EDITOR, 200, lambda ids: {"items": [{"gtin": gtin(78), "name": "New"}], "atomic": True}
    ),
    "GET /dashboard/api/v1/trade-items/{organization_id}/{gtin}": Operation(READONLY, 200),
    "PATCH /dashboard/api/v1/trade-items/{organization_id}/{gtin}": Operation(
        EDITOR, 200, lambda ids: {"name": "Changed"}
    ),
    "DELETE /dashboard/api/v1/trade-items/{organization_id}/{gtin}": Operation(EDITOR, 204),
    "GET /dashboard/api/v1/trade-items/{organization_id}/{gtin}/completeness": Operation(
        READONLY, 200
    ),
    "GET /dashboard/api/v1/trade-items/{organization_id}/{gtin}/images": Operation(READONLY, 200),
    "POST /dashboard/api/v1/trade-items/{organization_id}/{gtin}/images": Operation(
        EDITOR, 201, lambda ids: {"image": picture(), "title": "Front"}, is_form=True
    ),
    "GET /dashboard/api/v1/trade-items/{organization_id}/{gtin}/images/{image_id}": Operation(
        READONLY, 200
    ),
    "PATCH /dashboard/api/v1/trade-items/{organization_id}/{gtin}/images/{image_id}": Operation(
        EDITOR, 200, lambda ids: {"title": "Changed"}
    ),
    "DELETE /dashboard/api/v1/trade-items/{organization_id}/{gtin}/images/{image_id}": Operation(
        EDITOR, 204
    ),
    "GET /dashboard/api/v1/trade-items/{organization_id}/{gtin}/images/order": Operation(
        READONLY, 200
    ),
    "PUT /dashboard/api/v1/trade-items/{organization_id}/{gtin}/images/order": Operation(
        EDITOR, 200, lambda ids: {"ids": [ids["image_id"]]}
    ),
    "GET /dashboard/api/v1/offers/{organization_id}": Operation(READONLY, 200),
    "POST /dashboard/api/v1/offers/{organization_id}": Operation(
        EDITOR,
        201,
        lambda ids: {"gtin": ids["gtin"], "url": "https://shop.example.com/new", "sku": "new"},
    ),
    "POST /dashboard/api/v1/offers/{organization_id}/batch": Operation(
        EDITOR,
        200,
        lambda ids: {
            "items": [{"gtin": ids["gtin"], "url": "https://shop.example.com/new", "sku": "batch"}],
            "atomic": True,
        },
    ),
    "GET /dashboard/api/v1/offers/{organization_id}/broken/by-retailer": Operation(READONLY, 200),
    "GET /dashboard/api/v1/offers/{organization_id}/{offer_id}": Operation(READONLY, 200),
    "PATCH /dashboard/api/v1/offers/{organization_id}/{offer_id}": Operation(
        EDITOR, 200, lambda ids: {"gtin": ids["gtin"], "price": "12.50", "currency": "EUR"}
    ),
    "DELETE /dashboard/api/v1/offers/{organization_id}/{offer_id}": Operation(EDITOR, 204),
    "POST /dashboard/api/v1/offers/{organization_id}/{offer_id}/check": Operation(EDITOR, 200),
    "GET /dashboard/api/v1/certifications/{organization_id}": Operation(READONLY, 200),
    "POST /dashboard/api/v1/certifications/{organization_id}": Operation(
        EDITOR, 201, lambda ids: {"gtin": ids["gtin"], "certification": "eu-organic"}
    ),
    "POST /dashboard/api/v1/certifications/{organization_id}/batch": Operation(
        EDITOR,
        200,
        lambda ids: {
            "items": [{"gtin": ids["gtin"], "certification": "eu-organic"}],
            "atomic": True,
        },
    ),
    "GET /dashboard/api/v1/certifications/{organization_id}/{assignment_id}": Operation(
        READONLY, 200
    ),
    "PATCH /dashboard/api/v1/certifications/{organization_id}/{assignment_id}": Operation(
        EDITOR, 200, lambda ids: {"gtin": ids["gtin"], "certificate_number": "12345"}
    ),
    "DELETE /dashboard/api/v1/certifications/{organization_id}/{assignment_id}": Operation(
        EDITOR, 204
    ),
    f"GET {ATTACHMENTS}": Operation(READONLY, 200),
    f"POST {ATTACHMENTS}": Operation(EDITOR, 201, lambda ids: {"file": picture()}, is_form=True),
    f"GET {ATTACHMENTS}/{{attachment_id}}": Operation(READONLY, 200),
    f"DELETE {ATTACHMENTS}/{{attachment_id}}": Operation(EDITOR, 204),
    CONTENT: Operation(READONLY, 200, files=("application/octet-stream",)),
    "GET /dashboard/api/v1/exports/{organization_id}/trade-items": Operation(
        READONLY, 200, files=("text/csv", WORKBOOK, "application/jsonl")
    ),
    "GET /dashboard/api/v1/exports/{organization_id}/offers": Operation(
        READONLY, 200, files=("text/csv", WORKBOOK, "application/jsonl")
    ),
    "GET /dashboard/api/v1/exports/{organization_id}/certifications": Operation(
        READONLY, 200, files=("text/csv", WORKBOOK, "application/jsonl")
    ),
    "GET /dashboard/api/v1/exports/{organization_id}": Operation(
        MANAGER, 200, files=("application/zip",)
    ),
    "GET /dashboard/api/v1/imports/{organization_id}": Operation(EDITOR, 200),
    "POST /dashboard/api/v1/imports/{organization_id}": Operation(
        EDITOR, 202, lambda ids: {"url": FEED}
    ),
    "GET /dashboard/api/v1/imports/{organization_id}/{import_id}": Operation(EDITOR, 200),
    REJECTS: Operation(EDITOR, 200, files=("application/octet-stream",)),
    "POST /dashboard/api/v1/imports/{organization_id}/{import_id}/map": Operation(
        EDITOR, 200, lambda ids: {"mapping": {"Nr": "gtin", "Name": "name"}}
    ),
    "POST /dashboard/api/v1/imports/{organization_id}/{import_id}/apply": Operation(
        EDITOR, 200, lambda ids: {"skip_bad_rows": True}
    ),
    "POST /dashboard/api/v1/imports/{organization_id}/{import_id}/cancel": Operation(EDITOR, 200),
    "GET /dashboard/api/v1/sources/{organization_id}": Operation(EDITOR, 200),
    "POST /dashboard/api/v1/sources/{organization_id}": Operation(
        EDITOR, 201, lambda ids: {"url": FEED}
    ),
    "GET /dashboard/api/v1/sources/{organization_id}/{source_id}": Operation(EDITOR, 200),
    "PATCH /dashboard/api/v1/sources/{organization_id}/{source_id}": Operation(
        EDITOR, 200, lambda ids: {"name": "Changed"}
    ),
    "DELETE /dashboard/api/v1/sources/{organization_id}/{source_id}": Operation(EDITOR, 204),
    "POST /dashboard/api/v1/sources/{organization_id}/{source_id}/run": Operation(EDITOR, 200),
}


def document_of() -> dict[str, Any]:
    """Return the OpenAPI document."""
    published: dict[str, Any] = json.loads(document())
    return published


def documented() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each operation of the OpenAPI document by its method and path."""
    for path, methods in document_of()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def path_parameters(operation: dict[str, Any]) -> list[str]:
    """Return the names of an operation's path parameters."""
    return [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]


def call_path(name: str, ids: dict[str, str]) -> tuple[str, str]:
    """Return the method and the path of an operation."""
    method, path = name.split(" ", 1)
    return method, path.format(**{key: quote(value, safe="") for key, value in ids.items()})


def call(client: Client, name: str, ids: dict[str, str], body: Any = None, **kwargs: Any) -> Any:
    """Send the request of an operation to the path with some ids, and return the response.

    Without a ``body`` the valid one is sent, made from the same ids.
    """
    method, address = call_path(name, ids)
    operation = OPERATIONS[name]
    body = operation.body(ids) if body is None else body
    if operation.is_form:
        return client.post(address, body, **kwargs)
    sent = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    response = client.generic(method, address, **sent, **kwargs)
    if response.streaming:
        # Reads the file to its end, which closes it.
        response.file_content = b"".join(response.streaming_content)
    return response


def schemas() -> dict[str, Any]:
    """Return the schemas of the OpenAPI document by name."""
    named: dict[str, Any] = document_of()["components"]["schemas"]
    return named


def fields(name: str) -> set[str]:
    """Return the names of the members of an operation's JSON body."""
    content = dict(documented())[name].get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return set()
    component = content["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    return set(schemas()[component]["properties"])
