"""PATCH with ``application/merge-patch+json`` (RFC 7396): nested objects are merged, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rest_framework.request import Request

from closient.http.parsers import StrictJsonParser

MEDIA_TYPE = "application/merge-patch+json"


class MergePatchParser(StrictJsonParser):
    """Parses a merge patch, which is JSON."""

    media_type = MEDIA_TYPE


def body_of(request: Request, shown: Callable[[], Mapping[str, Any]]) -> Any:
    """Return the body of a PATCH; objects in a merge patch are merged into those of ``shown()``.

    The write itself merges metadata, for every media type.
    """
    body = request.data
    if not (request.content_type or "").startswith(MEDIA_TYPE) or not isinstance(body, dict):
        return body
    objects = [name for name, value in body.items() if isinstance(value, dict)]
    current = shown() if set(objects) - {"metadata"} else {}
    return {
        name: merge(current.get(name), value) if name in objects and name != "metadata" else value
        for name, value in body.items()
    }


def merge(target: Any, patch: Any) -> Any:
    """Return a value with a patch applied (RFC 7396, section 2)."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
