"""The tally: dated count changes, appended by the database in the transaction that causes them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Self
from uuid import UUID

from django.db import models
from django.db.models import Sum
from django.db.models.functions import Now

# The day of immediate entries: before every date, so they always count.
ALWAYS = datetime.date.min


class TallyEntryQuerySet(models.QuerySet["TallyEntry"]):
    """Queries of the tally."""

    def of(self, organization_id: UUID) -> Self:
        """Return the entries of one organization."""
        return self.filter(organization_id=organization_id)

    def counts(self, account: str, day: datetime.date) -> dict[str, int]:
        """Return the number of rows in each bucket of an account on a day, without empty ones."""
        entries = self.filter(account=account, effective_on__lte=day)
        sums = entries.values_list("bucket").annotate(count=Sum("amount"))
        return {bucket: count for bucket, count in sums if count}

    def counts_by_account(
        self, accounts: Sequence[str], day: datetime.date
    ) -> dict[str, dict[str, int]]:
        """Return :meth:`counts` of several accounts, with one query."""
        entries = self.filter(account__in=accounts, effective_on__lte=day)
        found: dict[str, dict[str, int]] = {account: {} for account in accounts}
        sums = entries.values_list("account", "bucket").annotate(count=Sum("amount"))
        for account, bucket, count in sums:
            if count:
                found[account][bucket] = count
        return found

    def count_after(self, account: str, day: datetime.date, *, until: datetime.date) -> int:
        """Return how many rows an account gains from the day after ``day`` to ``until``.

        Entries of days before today may have been merged: ``day`` must be today or later.
        """
        entries = self.filter(account=account, effective_on__gt=day, effective_on__lte=until)
        count: int = entries.aggregate(count=Sum("amount", default=0))["count"]
        return count

    def counts_by_day(
        self, account: str, day: datetime.date, *, until: datetime.date
    ) -> dict[datetime.date, int]:
        """Return how many rows an account gains on each day of the span, in order of days.

        Days without changes are absent.
        """
        entries = self.filter(account=account, effective_on__gt=day, effective_on__lte=until)
        sums = entries.values_list("effective_on").annotate(count=Sum("amount"))
        return {on: count for on, count in sums.order_by("effective_on") if count}


class TallyEntry(models.Model):
    """A change of one count from one day on.

    The count of a bucket on a day is the sum of the amounts of its entries up to that day.
    Only triggers write entries. Entries are never updated; compaction merges them.
    """

    id = models.BigAutoField(primary_key=True)
    # No foreign key: deleting an organization cascades into triggers that still post for it.
    organization_id = models.UUIDField()
    account = models.CharField(max_length=32)
    bucket = models.CharField(max_length=64)
    effective_on = models.DateField()
    amount = models.IntegerField()

    objects = TallyEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "tally entries"
        indexes = [
            # Every count reads a range of days of a few accounts, from the index alone.
            models.Index(
                fields=["organization_id", "account", "effective_on"],
                include=["bucket", "amount"],
                name="tally_tallyentry_counts",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.bucket} {self.effective_on} {self.amount:+d}"


class PastEntry(models.Model):
    """The day of an entry that compaction has merged into those that always count.

    The sum of the amounts of a bucket on a past day, here and in the entries that are not merged
    yet, is what changed on that day.
    """

    id = models.BigAutoField(primary_key=True)
    # No foreign key, as in the tally.
    organization_id = models.UUIDField()
    account = models.CharField(max_length=32)
    bucket = models.CharField(max_length=64)
    effective_on = models.DateField()
    amount = models.IntegerField()

    class Meta:
        verbose_name_plural = "past tally entries"
        indexes = [
            models.Index(fields=["organization_id", "effective_on"], name="tally_pastentry_days"),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.bucket} {self.effective_on} {self.amount:+d}"


class Audit(models.Model):
    """The last audit of an organization, and what it found."""

    # No foreign key: a deleted organization may have left entries, which an audit finds.
    organization_id = models.UUIDField(primary_key=True)
    audited_at = models.DateTimeField(db_default=Now())
    differences = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.differences} differences at {self.audited_at:%Y-%m-%d %H:%M}"
