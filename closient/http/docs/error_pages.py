"""Public pages that explain errors: the URLs in the ``type`` of problems."""

from __future__ import annotations

import json
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from closient.http.conflicts import check_rules
from closient.http.docs.error_guide import FIELD_CODES, GUIDES
from closient.http.openapi import FieldErrorSerializer, example_of, problem_example
from closient.http.problems import ERRORS


@require_safe
def all_errors(request: HttpRequest) -> HttpResponse:
    """Show the list of all errors."""
    return render(request, "api/errors.html", {"kinds": list(ERRORS.values())})


@require_safe
def one_error(request: HttpRequest, error_code: str) -> HttpResponse:
    """Show the causes and solutions of an error; 404 for an unknown code."""
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
