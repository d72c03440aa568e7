"""Links between operations in the OpenAPI document (OpenAPI 3.1, section 4.8.20).

They are derived from the paths: an operation that returns a resource links to every operation on
the path of that resource and one level below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_PARAMETER = re.compile(r"{(\w+)}")
# Responses that contain the id of another resource: the operation, the operations to link to, and
# their path parameters as expressions.
_TO_OTHER_RESOURCES: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
    (
        "whoami",
        ("get_dashboard_statistics", "list_trade_items", "list_offers"),
        {"organization_id": "$response.body#/organizations/0/id"},
    ),
    (
        "list_trade_items",
        ("get_trade_item", "get_trade_item_completeness"),
        {"gtin": "$response.body#/data/0/gtin"},
    ),
    ("list_offers", ("get_offer", "check_offer"), {"offer_id": "$response.body#/data/0/id"}),
    (
        "list_certification_assignments",
        ("get_certification_assignment",),
        {"assignment_id": "$response.body#/data/0/id"},
    ),
    (
        "list_trade_item_images",
        ("get_trade_item_image",),
        {"image_id": "$response.body#/data/0/id"},
    ),
    ("list_api_keys", ("get_api_key", "update_api_key"), {"key_id": "$response.body#/data/0/id"}),
    *(
        (operation, ("get_trade_item",), {"gtin": "$response.body#/gtin"})
        for operation in (
            "create_offer",
            "get_offer",
            "create_certification_assignment",
            "get_certification_assignment",
        )
    ),
)


def add_links(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Return the document with links on the responses of operations (a hook)."""
    paths = result["paths"]
    path_of = {
        operation["operationId"]: path
        for path, operations in paths.items()
        for operation in operations.values()
    }
    for path, operations in paths.items():
        for method, operation in operations.items():
            source = operation["operationId"]
            targets = dict(_below(paths, path, method))
            for name, others, given in _TO_OTHER_RESOURCES:
                if name == source:
                    targets |= dict.fromkeys(others, given)
            targets.pop(source, None)
            if not targets:
                continue
            status = next(status for status in operation["responses"] if status.startswith("2"))
            operation["responses"][status]["links"] = {
                target: {
                    "operationId": target,
                    "parameters": _expressions(path_of[target], given),
                }
                for target, given in targets.items()
            }
    return result


def _below(paths: dict[str, Any], path: str, method: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the operations on the resource of a path, and where its id is in the response."""
    if method == "post" and "201" in paths[path]["post"]["responses"]:
        resource, given = _created_by(paths, path)
    elif method == "get" and path.endswith("}"):
        resource, given = path, {}
    else:
        return
    for other, operations in paths.items():
        is_below = other.startswith(f"{resource}/") and "{" not in other[len(resource) :]
        if other == resource or is_below:
            for operation in operations.values():
                yield operation["operationId"], given


def _created_by(paths: dict[str, Any], path: str) -> tuple[str, dict[str, str]]:
    """Return the path of the resource that a POST creates, and where its id is in the response."""
    # A rotation creates a new resource next to the one in the path.
    parent = path if path.rsplit("/", 1)[1] != "rotate" else path.rsplit("/", 2)[0]
    child = next(other for other in paths if re.fullmatch(rf"{re.escape(parent)}/{{\w+}}", other))
    name = _PARAMETER.findall(child)[-1]
    member = "gtin" if name == "gtin" else "id"
    return child, {name: f"$response.body#/{member}"}


def _expressions(path: str, given: dict[str, str]) -> dict[str, str]:
    """Return the value of each path parameter: the given one, or that of the request."""
    return {name: given.get(name, f"$request.path.{name}") for name in _PARAMETER.findall(path)}
