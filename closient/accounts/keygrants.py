"""What whoever makes or changes a key may give it: nobody gives more than they have.

Otherwise a key with narrow limits, or one that ends tomorrow, could make itself a better one.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

from django.conf import settings
from django.utils import timezone

from closient.accounts.authentication import limits_of
from closient.accounts.models import ApiKey, ApiKeyRole
from closient.accounts.permissions import Access
from closient.accounts.ratelimit import Limits
from closient.api.problems import FieldError


@dataclasses.dataclass(frozen=True)
class Grantor:
    """Whoever makes or changes keys: the most that a key of theirs can have.

    ``expires_at`` is ``None`` for someone who does not end.
    """

    access: Access
    limits: Limits
    expires_at: datetime.datetime | None

    def complete(self, key: ApiKey, given: frozenset[str]) -> None:
        """Fill what a new key was not given: the defaults, or less where the grantor has less."""
        own, its = self.limits, limits_of(key)
        if "limit_per_minute" not in given and its.per_minute > own.per_minute:
            key.limit_per_minute = own.per_minute
        if "limit_per_day" not in given and its.per_day > own.per_day:
            key.limit_per_day = own.per_day
        if "expires_at" not in given:
            key.expires_at = self.expires_at

    def covers(self, key: ApiKey) -> bool:
        """Return whether a key may do no more requests than the grantor."""
        its = limits_of(key)
        return its.per_minute <= self.limits.per_minute and its.per_day <= self.limits.per_day

    def refusals(self, key: ApiKey, changed: frozenset[str]) -> Iterator[FieldError]:
        """Yield what is wrong with the values that a key has just been given."""
        if "role" in changed and not self.access.may(ApiKeyRole(key.role)):
            yield FieldError("#/role", "above_own", "A role above your own is not yours to give.")
        its = limits_of(key)
        for name, value, most in (
            ("limit_per_minute", its.per_minute, self.limits.per_minute),
            ("limit_per_day", its.per_day, self.limits.per_day),
        ):
            if name in changed and value > most:
                detail = f"This comes to {value} requests; your own limit, {most}, is the most."
                yield FieldError(f"#/{name}", "above_own", detail)
        if "expires_at" in changed:
            yield from self._wrong_end(key.expires_at)

    def _wrong_end(self, expires_at: datetime.datetime | None) -> Iterator[FieldError]:
        if expires_at is not None and expires_at <= timezone.now():
            detail = "This has to lie ahead; to end a key at once, set is_active to false."
            yield FieldError("#/expires_at", "past", detail)
        if self.expires_at is not None and (expires_at is None or expires_at > self.expires_at):
            detail = f"Your own key ends at {self.expires_at.isoformat()}: no other may end later."
            yield FieldError("#/expires_at", "above_own", detail)


def grantor(access: Access, key: ApiKey | None) -> Grantor:
    """Return what someone with an access may give, asking with a key or in a session."""
    return Grantor(access, limits_of_caller(key), key.expires_at if key else None)


def limits_of_caller(key: ApiKey | None) -> Limits:
    """Return the limits of a request with a key, or of a session without one."""
    if key is not None:
        return limits_of(key)
    return Limits(settings.API_LIMIT_PER_MINUTE, settings.API_LIMIT_PER_DAY)
