"""Users and how they want their lists, organizations, memberships, API keys and rate limits."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models.functions import Collate, Lower, Now
from django.utils import timezone

from closient.accounts.emails import EmailAddressField, normal_email
from closient.accounts.origins import MAX_LENGTH
from closient.db.ids import uuid7
from closient.db.tenancy import KeepOneOwner, TenantForeignKey


class IsNfkc(models.Func):
    """Whether a string is in Unicode normalization form NFKC."""

    template = "%(expressions)s IS NFKC NORMALIZED"
    output_field = models.BooleanField()


class UserManager(BaseUserManager["User"]):
    """Creates and finds users by email address."""

    use_in_migrations = True

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a user, who cannot log in without a password."""
        user = self.model(email=normal_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a user with all permissions in the admin."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """Return the normal form of an address."""
        return normal_email(email or "")

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user with an email address, in any spelling."""
        return self.get(email=username)


class User(AbstractUser):
    """A user, who logs in with an email address."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    username = None  # type: ignore[assignment]
    email = EmailAddressField("email address")

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    # If set before a new password is saved, the user's API keys (csu) are not revoked.
    keeps_api_keys = False
    _is_password_disabled = False

    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            # Read at every login.
            models.UniqueConstraint(
                fields=["email"],
                name="accounts_user_email_unique",
                violation_error_code="unique",
                violation_error_message="A user with this email address already exists.",
            ),
            # SQL can check only a part of closient.accounts.emails.normal_email.
            models.CheckConstraint(
                condition=models.Q(email=Lower(Collate("email", "C"))) & models.Q(IsNfkc("email")),
                name="accounts_user_email_normal",
            ),
        ]

    def set_unusable_password(self) -> None:
        """Disable the password, so that the user cannot log in."""
        super().set_unusable_password()
        self._is_password_disabled = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the user; a new password revokes the user's API keys.

        Upgrading the hash of the same password (AbstractBaseUser.check_password) does not.
        """
        raw_password: str | None = getattr(self, "_password", None)
        is_password_changed = raw_password is not None or self._is_password_disabled
        revokes_keys = is_password_changed and not self._state.adding and not self.keeps_api_keys
        with transaction.atomic():
            super().save(*args, **kwargs)
            if revokes_keys:
                self.api_keys.filter(is_active=True).update(is_active=False)
        self._is_password_disabled = False


class ListDisplay(models.Model):
    """How a user wants a list of the pages shown; in the directory, as the user is.

    A list without a row, and a value of ``None``, has the defaults of the list.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, db_index=False, related_name="list_displays"
    )
    list_name = models.CharField(max_length=32, help_text="For example products.")
    page_size = models.PositiveSmallIntegerField(null=True)
    is_compact = models.BooleanField(default=False, db_default=False)
    columns = ArrayField(
        models.CharField(max_length=32), null=True, help_text="The columns that are shown."
    )

    class Meta:
        constraints = [
            # Read by every request of a list.
            models.UniqueConstraint(
                fields=["user", "list_name"], name="accounts_listdisplay_unique"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.list_name} of {self.user_id}"


def validate_time_zone(value: str) -> None:
    """Raise ``ValidationError`` unless the value names an IANA time zone."""
    if value not in zoneinfo.available_timezones():
        raise ValidationError(
            "%(value)s is not an IANA time zone; use one like Europe/Berlin.",
            params={"value": value},
        )


class Organization(models.Model):
    """A brand owner: the tenant that owns catalog rows."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=255)
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        db_default="UTC",
        validators=[validate_time_zone],
        help_text="IANA name, as Europe/Berlin: decides when a day begins for this organization.",
    )
    allowed_origins = ArrayField(
        models.CharField(max_length=MAX_LENGTH),
        default=list,
        db_default=[],
        blank=True,
        help_text="Origins of web pages that may call the API from a browser.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name", "id"]
        indexes = [
            # The admin's list of organizations and its search.
            models.Index(Lower("name"), "id", name="accounts_organization_name"),
        ]

    def __str__(self) -> str:
        return self.name

    def today(self) -> datetime.date:
        """Return the current date in the organization's time zone.

        No other code computes it, and no SQL uses the server's current date.
        """
        return timezone.localdate(timezone=zoneinfo.ZoneInfo(self.time_zone))


class MemberRole(models.TextChoices):
    """The role of a member, from the most to the least powerful."""

    OWNER = "owner"
    MANAGER = "manager"
    EDITOR = "editor"
    BILLING = "billing"
    VIEWER = "viewer"


class Membership(models.Model):
    """A user's membership in an organization, with a role."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="memberships",
    )
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=MemberRole, default=MemberRole.VIEWER)

    class Meta:
        constraints = [
            TenantForeignKey(name="accounts_membership_organization", field="organization"),
            # Read by every request of a session or a user key.
            models.UniqueConstraint(
                fields=["organization", "user"],
                name="accounts_membership_unique",
                violation_error_message="This user is a member of the organization already.",
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=MemberRole.values),
                name="accounts_membership_role",
            ),
        ]
        triggers = [KeepOneOwner()]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class ApiKeyKind(models.TextChoices):
    """The kind of a key, which is also the prefix of its text."""

    ORGANIZATION = "csb", "organization (csb)"
    USER = "csu", "user: every organization of the user (csu)"
    PUBLISHABLE = "cpk", "publishable: reads the numbers from allowed origins (cpk)"


class ApiKeyRole(models.TextChoices):
    """The role of a key, from the least to the most powerful."""

    READONLY = "readonly"
    EDITOR = "editor"
    MANAGER = "manager"


class ApiKey(models.Model):
    """A key for the API. Only its digest is stored; its text is shown once, when it is created.

    Create keys with :func:`closient.accounts.api_keys.create_api_key`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=3, choices=ApiKeyKind, default=ApiKeyKind.ORGANIZATION)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="api_keys",
        help_text="The organization that the key opens; empty for a user key.",
    )
    user = models.ForeignKey(
        User,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="api_keys",
        help_text="The user for whom a user key acts; empty for the other kinds.",
    )
    name = models.CharField(max_length=100, help_text="What the key is used for.")
    prefix = models.CharField(
        max_length=8, editable=False, help_text="First characters of the key's body."
    )
    digest = models.CharField(
        max_length=64,
        unique=True,
        editable=False,
        help_text="SHA-256 of the key, in hex.",
    )
    role = models.CharField(max_length=16, choices=ApiKeyRole, default=ApiKeyRole.READONLY)
    is_active = models.BooleanField(
        default=True,
        help_text="Clear to revoke: the next request with the key gets 401.",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Written at most once a minute.",
    )
    limit_per_minute = models.PositiveIntegerField(
        default=0, help_text="Requests a minute; 0 for the default."
    )
    limit_per_day = models.PositiveIntegerField(
        default=0, help_text="Requests a day; 0 for the default."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        ordering = ["-created_at", "-id"]
        indexes = [
            # The keys of one organization, newest first: keys page and API.
            models.Index(
                fields=["organization", "-created_at", "-id"],
                name="accounts_apikey_organization",
            ),
        ]
        constraints = [
            TenantForeignKey(name="accounts_apikey_organization_fk", field="organization"),
            models.CheckConstraint(
                condition=models.Q(kind=ApiKeyKind.USER, user__isnull=False, organization=None)
                | models.Q(
                    kind__in=[ApiKeyKind.ORGANIZATION, ApiKeyKind.PUBLISHABLE],
                    user=None,
                    organization__isnull=False,
                ),
                name="accounts_apikey_holder",
                violation_error_message=(
                    "A user key (csu) needs a user and no organization; "
                    "every other key needs an organization and no user."
                ),
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=ApiKeyRole.values),
                name="accounts_apikey_role",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}_{self.prefix}… {self.name}"


class RateLimit(models.Model):
    """The requests of a key, user or address in its current windows (``accounts.ratelimit``).

    A window starts at its first request. The table is unlogged, so a crash of the database resets
    all counts.
    """

    subject = models.CharField(max_length=64, primary_key=True)
    minute_started_at = models.DateTimeField()
    minute_count = models.IntegerField()
    # The index finds expired rows.
    day_started_at = models.DateTimeField(db_index=True)
    day_count = models.IntegerField()
    is_allowed = models.BooleanField(help_text="Whether the last request was.")

    def __str__(self) -> str:
        return self.subject
