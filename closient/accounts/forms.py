"""Forms of the admin pages of accounts, and the field of allowed origins."""

from __future__ import annotations

import copy
from typing import Any

from django import forms
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.core.exceptions import ValidationError
from django.utils import timezone

from closient.accounts.key_policy import widened
from closient.accounts.models import MemberRole, User, validate_time_zone
from closient.accounts.origins import InvalidOrigin, clean_origins
from closient.admin.fields import FixedField
from closient.admin.forms import EditForm, EditFormSet
from closient.http.forms import CountsErrors


class NewUserForm(AdminUserCreationForm):
    """The form of a new user."""

    class Meta:
        model = User
        fields = ("email",)


class OriginsField(forms.CharField):
    """Origins of web pages, one per line."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            label="Allowed origins",
            required=False,
            widget=forms.Textarea({"rows": 4, "cols": 60, "spellcheck": "false"}),
            help_text="One per line, for example https://www.example.com. http is allowed only for "
            "this computer (http://localhost:3000).",
            **kwargs,
        )

    def prepare_value(self, value: Any) -> Any:
        """Return a list of origins as lines."""
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """Return the origins in their stored form."""
        try:
            return clean_origins((super().to_python(value) or "").split())
        except InvalidOrigin as error:
            raise ValidationError(str(error), code="origin") from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return whether the lines differ from the stored origins."""
        return (initial or []) != (data or "").split()


class OriginsForm(CountsErrors, forms.Form):
    """The form of an organization's allowed origins."""

    origins = OriginsField()


class UserForm(EditForm, UserChangeForm):  # type: ignore[type-arg]
    """The form of a user."""


class OrganizationForm(EditForm):
    """The form of an organization."""

    allowed_origins = OriginsField()

    def clean_time_zone(self) -> str:
        """Return the time zone; an invalid one must not reach the instance, which the page uses."""
        time_zone: str = self.cleaned_data["time_zone"]
        validate_time_zone(time_zone)
        return time_zone


class MembershipForm(EditForm):
    """The form of a member: the role, and for a new member the user."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding and "user" in self.fields:
            self.fields["user"] = FixedField(self.instance.user, label="User")


class MembershipFormSet(EditFormSet):
    """The members of an organization; at least one must be an owner."""

    def clean(self) -> None:
        """Reject members without an owner, as the database would at commit."""
        super().clean()
        if any(self.errors):
            return
        roles = [
            form.cleaned_data.get("role")
            for form in self.forms
            if (not form.instance._state.adding or form.has_changed())
            and not form.cleaned_data.get("DELETE")
        ]
        if roles and MemberRole.OWNER not in roles:
            raise ValidationError(
                "An organization with members keeps at least one owner: "
                "make another member the owner, or remove all members.",
                code="no_owner",
            )


class ApiKeyForm(EditForm):
    """The form of an API key."""

    # Whether the user may create keys; set by the admin page for each request.
    may_create = True

    def clean(self) -> dict[str, Any]:
        """Reject a new key that has expired, and widening a key without the right to create one.

        Reactivating or widening a key grants access, as creating it does.
        """
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        expires_at = cleaned.get("expires_at")
        if self.instance._state.adding:
            if expires_at and expires_at <= timezone.now():
                self.add_error("expires_at", "The expiry of a new key must be in the future.")
        elif not self.may_create and not self.errors:
            after = copy.copy(self.instance)
            for name, value in cleaned.items():
                setattr(after, name, value)
            for name in widened(self.instance, after):
                self.add_error(
                    name,
                    "This change gives the key more access, and you may not create API keys.",
                )
        return cleaned
