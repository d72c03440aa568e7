"""Addresses of the whole project."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from catalog.images.serving import serve_image
from closient.http import health
from closient.http.docs import discovery, error_pages
from closient.http.exceptions import unknown_path
from closient.http.problems import API_PREFIXES, TYPE_PREFIX

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz, name="readyz"),
    path("llms.txt", discovery.llms, name="llms"),
    path(discovery.CATALOG_PATH.removeprefix("/"), discovery.api_catalog),
    path(TYPE_PREFIX.removeprefix("/"), error_pages.all_errors, name="error-pages"),
    path(f"{TYPE_PREFIX.removeprefix('/')}<str:error_code>", error_pages.one_error),
    path("dashboard/api/v1/", include("dashboard.api.urls")),
    path("account/api/v1/", include("closient.accounts.api.urls")),
    *(re_path(rf"^{prefix.removeprefix('/')}", unknown_path) for prefix in API_PREFIXES),
    path("", RedirectView.as_view(pattern_name="page-start")),
    # Browsers request it for pages without an icon, such as those of the admin.
    path("favicon.ico", RedirectView.as_view(url=static("closient/icon.svg"))),
    path("dashboard/", include("dashboard.pages.urls")),
    path("account/", include("closient.accounts.urls")),
    path("media/<path:name>", serve_image),
    path("admin/", admin.site.urls),
]

handler400 = "closient.http.exceptions.bad_request"
handler403 = "closient.http.exceptions.permission_denied"
handler404 = "closient.http.exceptions.page_not_found"
handler500 = "closient.http.exceptions.server_error"
