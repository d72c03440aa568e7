"""``GET /account/api/v1/whoami``."""

from __future__ import annotations

import dataclasses
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from closient.accounts.api_views import CallerView
from closient.accounts.key_policy import limits_of_caller
from closient.accounts.models import User
from closient.accounts.permissions import all_access
from closient.accounts.serializers import WhoamiSerializer
from closient.http import openapi


class WhoamiView(CallerView):
    """The caller and the organizations that the caller can access."""

    @extend_schema(
        operation_id="whoami",
        summary="See who you are",
        description="The key or the user of the request, the rate limits, and the accessible "
        "organizations, each with your role.",
        tags=["Account"],
        responses=openapi.responses(WhoamiSerializer, "The caller."),
    )
    def get(self, request: Request) -> Response:
        """Return the key, the user and the organizations."""
        key: Any = request.auth
        user = request.user if isinstance(request.user, User) else None
        holder = User.objects.get(pk=key.user_id) if key and key.user_id else user
        answer = {
            "key": key,
            "user": holder,
            "limits": dataclasses.asdict(limits_of_caller(key)),
            "organizations": [
                {
                    "id": access.organization.id,
                    "name": access.organization.name,
                    "time_zone": access.organization.time_zone,
                    "role": access.role,
                    "member_role": member_role,
                }
                for access, member_role in all_access(user=user, key=key)
            ],
        }
        return Response(WhoamiSerializer(answer).data)
