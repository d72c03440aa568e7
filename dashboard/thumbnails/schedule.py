"""When the thumbnail of an image is made, and what the last attempt brought.

An image is due at ``thumbnail_due_at``. A claim moves it ahead by the lease; each write of a result
is a compare-and-set on the exact value, so a picture that was changed meanwhile wins. A claim
counts as a failure until its result is written: a picture that kills its worker is given up after
as many attempts as any other. Hosts are scanned in the order of the index of due images, and each
claim takes one image at one host: a host with a million images does not delay those at other hosts,
but the organizations that have images at one host wait for each other. Uploaded
images have the host ``""``.
"""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from catalog.images.reencoding import Thumbnail
from catalog.models import ProductImage
from closient.cells.models import Fence
from offers.url_checks.schedule.claims import PLANNING

logger = logging.getLogger("dashboard.thumbnails")

# Longer than an attempt can take.
LEASE = datetime.timedelta(minutes=5)
# The pauses after the first failures in a row. After one more the worker gives up.
RETRY_DELAYS = (
    datetime.timedelta(minutes=1),
    datetime.timedelta(minutes=15),
    datetime.timedelta(hours=2),
    datetime.timedelta(hours=12),
    datetime.timedelta(days=2),
)
MAX_ATTEMPTS = len(RETRY_DELAYS) + 1
MAX_RETRY_AFTER = datetime.timedelta(days=1)
MAX_PROBLEM_LENGTH = 500
# Hosts that one scan of a worker looks at.
MAX_SCANNED_HOSTS = 200
WORKER_ENDED = (
    "The worker ended unexpectedly during each attempt to make the thumbnail: use a smaller copy "
    "of the image."
)

# One index lookup per host: its earliest thumbnail, due or not.
_SCAN = """
    WITH RECURSIVE scan(host, due_at, steps) AS (
        (SELECT i.host, i.thumbnail_due_at, 1 FROM catalog_productimage i
         WHERE i.thumbnail_due_at IS NOT NULL AND (%(after)s::text IS NULL OR i.host > %(after)s)
         ORDER BY i.host, i.thumbnail_due_at LIMIT 1)
        UNION ALL
        SELECT next.host, next.thumbnail_due_at, scan.steps + 1
        FROM scan CROSS JOIN LATERAL (
            SELECT i.host, i.thumbnail_due_at FROM catalog_productimage i
            WHERE i.thumbnail_due_at IS NOT NULL AND i.host > scan.host
            ORDER BY i.host, i.thumbnail_due_at LIMIT 1
        ) next
        WHERE scan.steps < %(most)s
    )
    SELECT host, due_at <= statement_timestamp(), steps = %(most)s FROM scan ORDER BY steps
"""


@dataclass(frozen=True)
class ScannedHosts:
    """The hosts with due thumbnails among those that one scan has looked at.

    The next scan begins ``after``; ``None`` if all hosts were looked at.
    """

    due: list[str]
    after: str | None


def scan_hosts(after: str | None, most: int) -> ScannedHosts:
    """Return which of the next hosts have due thumbnails."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(PLANNING)
        cursor.execute(_SCAN, {"after": after, "most": most})
        rows = cursor.fetchall()
    last = rows[-1][0] if rows and rows[-1][2] else None
    return ScannedHosts([host for host, is_due, _ in rows if is_due], last)


def claim(host: str) -> ProductImage | None:
    """Take the image at a host that has been due longest, or ``None``.

    Gives up those whose last attempt was claimed and has no result.
    """
    due = ProductImage.objects.filter(host=host, thumbnail_due_at__lte=Now())
    if settings.CELLS:
        # Those of organizations that are being moved stay as they are.
        due = due.exclude(organization__in=Fence.objects.values("organization_id"))
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(PLANNING)
        locked = due.select_for_update(skip_locked=True, no_key=True).order_by("thumbnail_due_at")
        while (image := locked.only("thumbnail_failures").first()) is not None:
            claimed = ProductImage.objects.filter(pk=image.pk)
            if image.thumbnail_failures < MAX_ATTEMPTS:
                claimed.update(
                    thumbnail_due_at=Now() + LEASE, thumbnail_failures=F("thumbnail_failures") + 1
                )
                return claimed.get()
            claimed.update(thumbnail_due_at=None, thumbnail_problem=WORKER_ENDED)
            logger.error("thumbnail of %s: given up, as its worker ended each time", image.pk)
    return None


def release(image: ProductImage, delay: datetime.timedelta = datetime.timedelta(0)) -> None:
    """Make a claimed image due after a delay, as if it had not been taken."""
    _claimed(image).update(
        thumbnail_due_at=Now() + delay, thumbnail_failures=image.thumbnail_failures - 1
    )


def end(image: ProductImage, name: str, thumbnail: Thumbnail, file_size: int) -> bool:
    """Save the name of a stored thumbnail; return whether the image was still claimed."""
    return bool(
        _claimed(image).update(
            thumbnail=name,
            thumbnail_due_at=None,
            thumbnail_failures=0,
            thumbnail_problem="",
            width=thumbnail.width,
            height=thumbnail.height,
            file_size=file_size,
        )
    )


def fail(
    image: ProductImage, problem: str, retry_after: datetime.timedelta | None = None
) -> datetime.timedelta | None:
    """Save why an attempt failed; return the pause until the next one, ``None`` for never."""
    failures = image.thumbnail_failures
    delay = None
    if failures < MAX_ATTEMPTS:
        wanted = min(retry_after or datetime.timedelta(0), MAX_RETRY_AFTER)
        delay = max(RETRY_DELAYS[failures - 1], wanted)
    _claimed(image).update(
        thumbnail_due_at=None if delay is None else Now() + delay,
        thumbnail_problem=problem[:MAX_PROBLEM_LENGTH],
    )
    return delay


def try_again(image: ProductImage) -> bool:
    """Make an image with a problem due now, with all attempts before it; return whether it is."""
    failed = ProductImage.objects.filter(pk=image.pk).exclude(thumbnail_problem="")
    return bool(failed.update(thumbnail_due_at=Now(), thumbnail_failures=0, thumbnail_problem=""))


def _claimed(image: ProductImage) -> QuerySet[Any]:
    return ProductImage.objects.filter(pk=image.pk, thumbnail_due_at=image.thumbnail_due_at)
