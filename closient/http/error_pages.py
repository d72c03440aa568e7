"""Pages that explain errors: what the ``type`` of a problem leads to. Open to everyone."""

from __future__ import annotations

import json
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from closient.http.conflicts import check_rules
from closient.http.error_guide import FIELD_CODES, GUIDES
from closient.http.openapi import FieldErrorSerializer, example_of, problem_example
from closient.http.problems import ERRORS


@require_safe
def all_errors(request: HttpRequest) -> HttpResponse:
    """Answer with the list of all errors."""
    return render(request, "api/errors.html", {"kinds": list(ERRORS.values())})


@require_safe
def one_error(request: HttpRequest, error_code: str) -> HttpResponse:
    """Answer with an error's causes and cures; 404 for a code that does not exist."""
    kind = ERRORS.get(error_code)
    if kind is None:
        raise Http404
    example: dict[str, Any] = problem_example(kind).value
    context: dict[str, Any] = {"kind": kind, "guide": GUIDES[error_code]}
    if error_code == "validation_error":
        example["errors"] = [example_of(FieldErrorSerializer)]
        context |= {"field_codes": FIELD_CODES, "check_rules": check_rules()}
    context["example"] = json.dumps(example, indent=2)
    return render(request, "api/error.html", context)
