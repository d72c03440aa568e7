"""Idempotent POST requests: the ``Idempotency-Key`` header.

The key's row is inserted before the write, in the same transaction. A second request with the
same key therefore waits at the unique index until the first has committed, and returns its
response. If the first fails, the second runs instead.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.db import connection
from django.http import QueryDict
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from closient.db.transactions import run_with_retry
from closient.http.models import KEY_LENGTH, IdempotencyKey
from closient.http.problems import FieldError, Problem

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEPT_FOR = datetime.timedelta(hours=24)
# Each write with a key deletes up to this many expired keys, more than it adds.
SWEPT_AT_ONCE = 10

_PRINTABLE = re.compile(r"[ -~]+\Z")

PARAMETER = OpenApiParameter(
    HEADER,
    {
        "type": "string",
        "minLength": 1,
        "maxLength": KEY_LENGTH,
        "pattern": "^[ -~]+$",
        "examples": ["5f0c1f3e-2f7b-4f0e-9b39-7a4f3c1d2e10"],
    },
    OpenApiParameter.HEADER,
    description="A string of your choice, new for each resource to create. The same request "
    "with the same key, within 24 hours and from the same API key or user, creates nothing and "
    f"gets the first answer again, with `{REPLAYED}: true`; another body with the same key gets "
    "409. A failed request does not use up its key.",
)

# The header of the answer, where the first answer is kept.
REPLAYED_HEADER = OpenApiParameter(
    REPLAYED,
    {"type": "string", "const": "true", "examples": ["true"]},
    OpenApiParameter.HEADER,
    description=f"The answer is the first one to a request with this {HEADER}.",
    response=[200, 201, 202],
)

# The row of an expired key is taken over.
_CLAIM = """
    INSERT INTO public.api_idempotencykey AS kept
        (organization_id, caller, operation, key, digest, status, location, body, created_at)
    VALUES (%(organization_id)s, %(caller)s, %(operation)s, %(key)s, %(digest)s, 0, '', '', %(now)s)
    ON CONFLICT (organization_id, caller, operation, key) DO UPDATE
        SET digest = excluded.digest, status = 0, location = '', body = '',
            created_at = excluded.created_at
        WHERE kept.created_at <= %(expired)s
    RETURNING id
"""
_SWEEP = """
    DELETE FROM public.api_idempotencykey WHERE id = ANY (ARRAY (
        SELECT id FROM public.api_idempotencykey WHERE created_at <= %(expired)s
        ORDER BY created_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
    ))
"""


def idempotent(
    request: Request,
    organization_id: UUID,
    write: Callable[[], Response],
    *,
    keeps_answer: bool = True,
) -> Response:
    """Run a function that writes and return its response; a repeated request gets the first one.

    It runs through :func:`closient.db.transactions.run_with_retry`: in a transaction, and again
    when it loses to others. Without the header that is all.

    With ``keeps_answer=False`` the answer is not stored, since it holds a secret: a repeated
    request writes nothing and gets a ``conflict``. Raises ``conflict`` too for a key that came
    with another body, and ``validation_error`` for one that is no key.
    """
    key = _key_of(request)
    if key is None:
        return run_with_retry(write)
    now = timezone.now()
    row: dict[str, Any] = {
        "organization_id": organization_id,
        "caller": _caller_of(request),
        "operation": _operation_of(request),
        "key": key,
        "digest": _digest_of(request.data),
        "now": now,
        "expired": now - KEPT_FOR,
    }

    def write_once() -> Response:
        with connection.cursor() as cursor:
            cursor.execute(_CLAIM, row)
            claimed = cursor.fetchone()
        if claimed is None:
            return _first_answer(row)
        answer = write()
        _keep(claimed[0], answer, keeps_answer=keeps_answer)
        with connection.cursor() as cursor:
            cursor.execute(_SWEEP, {"expired": row["expired"], "most": SWEPT_AT_ONCE})
        return answer

    return run_with_retry(write_once)


def forget_expired() -> int:
    """Delete all keys that are too old and return how many."""
    with connection.cursor() as cursor:
        cursor.execute(_SWEEP, {"expired": timezone.now() - KEPT_FOR, "most": None})
        return int(cursor.rowcount)


def _key_of(request: Request) -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and (len(key) > KEY_LENGTH or not _PRINTABLE.match(key)):
        detail = f"A key has 1 to {KEY_LENGTH} printable ASCII characters."
        raise Problem(
            "validation_error",
            errors=[FieldError(f"#/header/{HEADER}", "idempotency_key", detail)],
        )
    return key


def _caller_of(request: Request) -> str:
    return f"key {request.auth.pk}" if request.auth else f"user {request.user.pk}"


def _operation_of(request: Request) -> str:
    """Return the method and the address, the same however an id in it is spelled."""
    match: Any = request._request.resolver_match
    named = " ".join(f"{name}={value}" for name, value in sorted(match.kwargs.items()))
    return f"{request.method} {match.route} {named}"


def _digest_of(data: Any) -> str:
    """Return the SHA-256 of what a body says; the order of an object's members says nothing."""
    if isinstance(data, QueryDict):
        data = {name: [_of_form(value) for value in data.getlist(name)] for name in data}
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _of_form(value: Any) -> Any:
    if not isinstance(value, UploadedFile):
        return value
    digest = hashlib.sha256()
    for chunk in value.chunks():
        digest.update(chunk)
    value.seek(0)
    return {"file": digest.hexdigest()}


def _keep(row_id: int, answer: Response, *, keeps_answer: bool) -> None:
    IdempotencyKey.objects.filter(pk=row_id).update(
        status=answer.status_code,
        location=answer.headers.get("Location", ""),
        body=JSONRenderer().render(answer.data).decode() if keeps_answer else "",
    )


def _first_answer(row: dict[str, Any]) -> Response:
    named = {name: row[name] for name in ("organization_id", "caller", "operation", "key")}
    kept = IdempotencyKey.objects.get(**named)
    if kept.digest != row["digest"]:
        raise Problem(
            "conflict",
            f"This {HEADER} came with another body before: take a new one for a new request.",
        )
    if not kept.body:
        raise Problem(
            "conflict",
            f"The request with this {HEADER} succeeded before; its answer holds a secret and "
            "is not kept.",
        )
    headers = {REPLAYED: "true"} | ({"Location": kept.location} if kept.location else {})
    return Response(json.loads(kept.body), status=kept.status, headers=headers)
