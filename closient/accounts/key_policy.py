"""The policy for creating and changing keys: callers cannot grant more than they have.

Otherwise a key with low limits, or one that expires tomorrow, could create a better one. A change
that widens a key (reactivates it, or raises its expiry, role or limits) grants everything that the
key then has, so the whole key must meet the policy, like a new one.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

from django.conf import settings
from django.utils import timezone

from closient.accounts.authentication import key_limits
from closient.accounts.models import ApiKey, ApiKeyRole
from closient.accounts.permissions import Access, is_above
from closient.accounts.ratelimit import Limits
from closient.http.problems import FieldError


@dataclasses.dataclass(frozen=True)
class KeyPolicy:
    """The caller's own role, limits and expiry: the maximum for keys it creates or changes.

    ``expires_at`` is ``None`` if the caller does not expire.
    """

    access: Access
    limits: Limits
    expires_at: datetime.datetime | None

    def fill_defaults(self, key: ApiKey, given: frozenset[str]) -> None:
        """Set the values of a new key that are not given: the lower of default and own value."""
        own, limits = self.limits, key_limits(key)
        if "limit_per_minute" not in given and limits.per_minute > own.per_minute:
            key.limit_per_minute = own.per_minute
        if "limit_per_day" not in given and limits.per_day > own.per_day:
            key.limit_per_day = own.per_day
        if "expires_at" not in given:
            key.expires_at = self.expires_at

    def covers(self, key: ApiKey) -> bool:
        """Return whether the limits of a key are within the caller's own."""
        limits = key_limits(key)
        return limits.per_minute <= self.limits.per_minute and limits.per_day <= self.limits.per_day

    def errors(
        self, key: ApiKey, changed: frozenset[str], *, before: ApiKey | None = None
    ) -> Iterator[FieldError]:
        """Yield the errors in the changed values of a key.

        ``before`` is the previous state of an existing key.
        """
        widening = widened(before, key) if before is not None else ()
        if "expires_at" in changed and key.expires_at and key.expires_at <= timezone.now():
            detail = "Must be in the future. To revoke a key now, set is_active to false."
            yield FieldError("#/expires_at", "past", detail)
        for name, own_detail, detail in self._excess(key):
            if name in changed:
                yield FieldError(f"#/{name}", "above_own", own_detail)
            elif widening:
                yield FieldError(f"#/{widening[0]}", "above_own", detail)

    def _excess(self, key: ApiKey) -> Iterator[tuple[str, str, str]]:
        """Yield the name of each field that exceeds the caller's own, with two messages.

        The first is for a request that changes this field, the second for one that widens the key
        by another field.
        """
        if not self.access.may(ApiKeyRole(key.role)):
            yield (
                "role",
                "Must not be a role above your own.",
                f"This key has the role {key.role}, which is above your own.",
            )
        limits = key_limits(key)
        for name, value, maximum in (
            ("limit_per_minute", limits.per_minute, self.limits.per_minute),
            ("limit_per_day", limits.per_day, self.limits.per_day),
        ):
            if value > maximum:
                yield (
                    name,
                    f"Must be at most {maximum}, your own limit; this is {value}.",
                    f"This key's {name} is {value}, and your own is {maximum}: set {name} to at "
                    f"most {maximum} in the same request.",
                )
        end = self.expires_at
        if end is not None and (key.expires_at is None or key.expires_at > end):
            yield (
                "expires_at",
                f"Must be no later than {end.isoformat()}, when your own key expires.",
                f"This key expires after your own, which expires at {end.isoformat()}: set "
                "expires_at to that time or earlier in the same request.",
            )


def widened(before: ApiKey, after: ApiKey) -> tuple[str, ...]:
    """Return the fields by which a change makes a key allow more, or work longer."""
    old, new = key_limits(before), key_limits(after)
    expires_later = before.expires_at is not None and (
        after.expires_at is None or after.expires_at > before.expires_at
    )
    widenings = {
        "is_active": after.is_active and not before.is_active,
        "role": is_above(ApiKeyRole(after.role), ApiKeyRole(before.role)),
        "limit_per_minute": new.per_minute > old.per_minute,
        "limit_per_day": new.per_day > old.per_day,
        "expires_at": expires_later,
    }
    return tuple(name for name, is_wider in widenings.items() if is_wider)


def key_policy(access: Access, key: ApiKey | None) -> KeyPolicy:
    """Return the policy of a caller with an access: of its key, or of a session without one."""
    return KeyPolicy(access, limits_of_caller(key), key.expires_at if key else None)


def limits_of_caller(key: ApiKey | None) -> Limits:
    """Return the limits of a key, or of a session without one."""
    if key is not None:
        return key_limits(key)
    return Limits(settings.API_LIMIT_PER_MINUTE, settings.API_LIMIT_PER_DAY)
