"""The policy for creating and changing keys: callers cannot grant more than they have.

Otherwise a key with narrow limits, or one that ends tomorrow, could make itself a better one. A
change that widens a key (it works again, ends later, has a higher role or larger limits) grants all
that the key then has, so the whole key has to meet the policy, as at its creation.
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
    """The caller's limits for keys: the most that a key it creates or changes can have.

    ``expires_at`` is ``None`` for a caller without an end.
    """

    access: Access
    limits: Limits
    expires_at: datetime.datetime | None

    def complete(self, key: ApiKey, given: frozenset[str]) -> None:
        """Fill missing values of a new key: the defaults, or less if the caller has less."""
        own, its = self.limits, key_limits(key)
        if "limit_per_minute" not in given and its.per_minute > own.per_minute:
            key.limit_per_minute = own.per_minute
        if "limit_per_day" not in given and its.per_day > own.per_day:
            key.limit_per_day = own.per_day
        if "expires_at" not in given:
            key.expires_at = self.expires_at

    def covers(self, key: ApiKey) -> bool:
        """Return whether the limits of a key are within the caller's limits."""
        its = key_limits(key)
        return its.per_minute <= self.limits.per_minute and its.per_day <= self.limits.per_day

    def refusals(
        self, key: ApiKey, changed: frozenset[str], *, before: ApiKey | None = None
    ) -> Iterator[FieldError]:
        """Yield the errors in the new values of a key.

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
        """Yield each field of a key that exceeds the caller's own.

        With it come two sentences: for a request that sets this field, and for one that widens
        the key by another field.
        """
        if not self.access.may(ApiKeyRole(key.role)):
            yield (
                "role",
                "Must not be a role above your own.",
                f"This key has the role {key.role}, which is above your own.",
            )
        its = key_limits(key)
        for name, value, most in (
            ("limit_per_minute", its.per_minute, self.limits.per_minute),
            ("limit_per_day", its.per_day, self.limits.per_day),
        ):
            if value > most:
                yield (
                    name,
                    f"Must be at most {most}, your own limit; this is {value}.",
                    f"This key's {name} is {value} requests, and your own limit is {most}: "
                    f"set {name} to no more than that in the same request.",
                )
        end = self.expires_at
        if end is not None and (key.expires_at is None or key.expires_at > end):
            own = f"Your own key ends at {end.isoformat()}"
            yield (
                "expires_at",
                f"{own}: no other may end later.",
                f"{own}, and this key later: set expires_at to no later than that in the same "
                "request.",
            )


def widened(before: ApiKey, after: ApiKey) -> tuple[str, ...]:
    """Return the fields by which a changed key allows more, or for longer, than it did."""
    was, its = key_limits(before), key_limits(after)
    ends_later = before.expires_at is not None and (
        after.expires_at is None or after.expires_at > before.expires_at
    )
    widenings = {
        "is_active": after.is_active and not before.is_active,
        "role": is_above(ApiKeyRole(after.role), ApiKeyRole(before.role)),
        "limit_per_minute": its.per_minute > was.per_minute,
        "limit_per_day": its.per_day > was.per_day,
        "expires_at": ends_later,
    }
    return tuple(name for name, is_wider in widenings.items() if is_wider)


def key_policy(access: Access, key: ApiKey | None) -> KeyPolicy:
    """Return the policy of a caller with an access, using a key or a session."""
    return KeyPolicy(access, limits_of_caller(key), key.expires_at if key else None)


def limits_of_caller(key: ApiKey | None) -> Limits:
    """Return the limits of a request with a key, or of a session without one."""
    if key is not None:
        return key_limits(key)
    return Limits(settings.API_LIMIT_PER_MINUTE, settings.API_LIMIT_PER_DAY)
