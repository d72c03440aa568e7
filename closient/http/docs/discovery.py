"""Files at well-known URLs for programs that look for the API: ``llms.txt``, the API catalog."""

from __future__ import annotations

import json
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from closient.http.docs.documents import document
from closient.http.problems import API_PREFIXES, TYPE_PREFIX

# RFC 9727, section 4: the profile of an API catalog.
CATALOG_TYPE = 'application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"'
CATALOG_PATH = "/.well-known/api-catalog"


@require_safe
def api_catalog(request: HttpRequest) -> HttpResponse:
    """Return the API catalog: URLs, description, documentation and status (RFC 9727).

    Its links have the relations of RFC 8631, in the format of RFC 9264.
    """
    absolute = request.build_absolute_uri
    links = {
        "service-desc": [{"href": absolute(reverse("openapi")), "type": "application/json"}],
        "service-doc": [
            {"href": absolute(reverse("docs")), "type": "text/html"},
            {"href": absolute(TYPE_PREFIX), "type": "text/html"},
        ],
        "service-meta": [{"href": absolute(reverse("llms")), "type": "text/plain"}],
        "status": [{"href": absolute(reverse("readyz")), "type": "text/plain"}],
    }
    catalog = {
        "linkset": [{"anchor": absolute(f"{prefix}v1/"), **links} for prefix in API_PREFIXES]
    }
    # Section 2: the response to HEAD has a link to the catalog.
    headers = {"Link": f'<{CATALOG_PATH}>; rel="api-catalog"'}
    return HttpResponse(json.dumps(catalog, indent=2), content_type=CATALOG_TYPE, headers=headers)


@require_safe
def llms(request: HttpRequest) -> HttpResponse:
    """Return a summary of the API for language models, in the format of llmstxt.org."""
    text = _summary(request.build_absolute_uri)
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def _summary(absolute: Callable[[str], str]) -> str:
    openapi = json.loads(document())
    docs = absolute(reverse("docs"))
    lines = [
        f"# {openapi['info']['title']}",
        "",
        "> How healthy an organization's product data is: seven exact numbers, and the products, "
        "offers, certificates and images behind them.",
        "",
        "Send an API key in the X-API-Key header. Errors are application/problem+json (RFC 9457).",
        "",
        "## Documentation",
        "",
        f"- [OpenAPI document]({absolute(reverse('openapi'))}): every operation, with examples",
        f"- [Interactive documentation]({docs}): keys, pages, limits, errors, versions",
        f"- [Errors]({absolute(TYPE_PREFIX)}): causes and solutions of every error code",
    ]
    for tag in openapi["tags"]:
        lines += ["", f"## {tag['name']}", "", tag["description"], ""]
        lines += [
            f"- `{method.upper()} {path}`: {operation['summary']}"
            for path, operations in openapi["paths"].items()
            for method, operation in operations.items()
            if tag["name"] in operation["tags"]
        ]
    return "\n".join([*lines, ""])
