"""URLs of the API of accounts, below ``/account/api/v1/``."""

from __future__ import annotations

from django.urls import path

from closient.accounts.api.api_keys import ApiKeysView, ApiKeyView, RotationView
from closient.accounts.api.origins import AllowedOriginsView
from closient.accounts.api.whoami import WhoamiView

urlpatterns = [
    path("whoami", WhoamiView.as_view(), name="whoami"),
    path(
        "organizations/<id:organization_id>/allowed-origins",
        AllowedOriginsView.as_view(),
        name="allowed-origins",
    ),
    path(
        "organizations/<id:organization_id>/api-keys",
        ApiKeysView.as_view(),
        name="api-keys",
    ),
    path(
        "organizations/<id:organization_id>/api-keys/<id:key_id>",
        ApiKeyView.as_view(),
        name="api-key",
    ),
    path(
        "organizations/<id:organization_id>/api-keys/<id:key_id>/rotate",
        RotationView.as_view(),
        name="api-key-rotate",
    ),
]
