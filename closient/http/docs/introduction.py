"""The introduction of the OpenAPI document: rules for all operations."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from closient.http import pagination, problems

_TEXT = """\
Seven numbers on the health of an organization's product data, exact and live at every commit, and
the data behind them. Start with `get_dashboard_statistics`.

## Keys

Send an API key in the `X-API-Key` header. A `csb_...` key has access to one organization, a
`csu_...` key to all organizations of its user. A `cpk_...` key may be public: pages on the
organization's allowed origins can read stats, forecast and history with it, and nothing else.

`GET /account/api/v1/whoami` lists the organizations that a key has access to. A missing or
invalid key gets 401. A resource that does not exist and one that you may not see get the same 404.

```
curl -H "X-API-Key: csb_..." https://{{host}}/dashboard/api/v1/stats/{{organization_id}}
```

## Pages

Lists take `page` (from 1) and `page_size` (1 to {largest_page}, {page_size} by default), and
return `{{"data": [...], "pagination": {{...}}}}`. `total_count` of the list behind a number equals
that number. To read a whole list, follow the `Link` header, or send `next_after` of each page as
`after`: no row is skipped or repeated while others are added and deleted.

## Dates

A date is `YYYY-MM-DD`, a day in the organization's time zone. A time is RFC 3339. Responses
contain UTC with up to six decimals of the second. Requests may use any offset; a time without an
offset is UTC.

## Limits

A key may send {per_minute:,} requests a minute and {per_day:,} a day. `RateLimit-Remaining` and
`RateLimit-Reset` show what is left; a 429 has `Retry-After`. A body may have {body:,} bytes, a form
with an image {upload:,}, and a batch {batch:,}. To write many rows, send batches of up to
1,000 items: each counts as one request.

## Synchronization

Batches create and change trade items, offers and certificates by their natural keys, and write only
what differs. `list_changes` says what was changed and deleted: keep its `next_after`, and read on
from it later.

## Errors

Every error is `application/problem+json` (RFC 9457), regardless of `Accept`. `error_code` names the
kind of error, `type` is the path of the [page that explains it]({errors}), and a 422 lists
each wrong value in `errors`. Repeat a request only if `retryable` is true. Send an
`Idempotency-Key` with POST, so that a repeated request creates nothing twice.

## Changes at the same time

Responses have an `ETag`, the version of the resource. Send it as `If-Match` with PATCH, PUT and
DELETE: if the resource has changed since, the response is 412 and nothing is written. Send it as
`If-None-Match` with GET: if nothing has changed, the response is 304.

## Versions

The version is in the path (`v1`). Within a version, changes are additions: new operations, optional
parameters, members of responses, values of `error_code` and headers. Ignore members that you do
not know. A change that breaks clients gets a new version. The old version then stays for at least
12 months; its responses have `Deprecation` (RFC 9745) and `Sunset` (RFC 8594) headers.
"""


def introduce(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Return the document with its introduction (a hook)."""
    result["info"]["description"] = _TEXT.format(
        largest_page=pagination.MAX_PAGE_SIZE,
        page_size=pagination.DEFAULT_SIZE,
        per_minute=settings.API_LIMIT_PER_MINUTE,
        per_day=settings.API_LIMIT_PER_DAY,
        body=settings.API_LARGEST_BODY,
        upload=settings.API_LARGEST_UPLOAD,
        batch=settings.API_LARGEST_BATCH,
        errors=problems.TYPE_PREFIX,
    )
    return result
