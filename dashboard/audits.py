"""Regular audits of all organizations by the worker, a few at a time.

Each organization is compared in one snapshot, so an audit cannot be divided further.
"""

from __future__ import annotations

import datetime
import logging
import time

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Now

from closient.accounts.models import Organization
from closient.db.ids import format_id
from closient.tally.audit import audit_on_replica, record
from closient.tally.models import Audit

logger = logging.getLogger("dashboard.audits")

# Seconds after which a run begins no other audit: other jobs of the worker wait meanwhile.
RUN_SECONDS = 10.0
# Organizations whose audit is due, read at once.
MAX_DUE = 1_000


def audit_due() -> int:
    """Audit organizations that are due, those first whose last audit is longest ago.

    Returns how many. An audit is due after ``AUDIT_INTERVAL_DAYS``; 0 disables them. Reads on the
    replica if there is one.
    """
    organizations = Organization.objects.order_by()
    # Of organizations that were deleted since.
    own = organizations.filter(pk=OuterRef("organization_id"))
    Audit.objects.filter(~Exists(own), differences=0).delete()
    if not settings.AUDIT_INTERVAL_DAYS:
        return 0
    before = Now() - datetime.timedelta(days=settings.AUDIT_INTERVAL_DAYS)
    last = Audit.objects.filter(organization_id=OuterRef("pk")).values("audited_at")
    due = (
        organizations.annotate(audited_at=Subquery(last))
        .filter(Q(audited_at__isnull=True) | Q(audited_at__lt=before))
        .order_by(F("audited_at").asc(nulls_first=True))
        .values_list("pk", flat=True)[:MAX_DUE]
    )
    ends_at = time.monotonic() + RUN_SECONDS
    count = 0
    for organization_id in list(due):
        found = audit_on_replica(organization_id)
        record(organization_id, found)
        if found:
            logger.error(
                "The tally of organization %s differs from its rows in %s places: "
                "see the runbook (docs/runbook.md).",
                format_id(organization_id),
                len(found),
            )
        count += 1
        if time.monotonic() >= ends_at:
            break
    return count
