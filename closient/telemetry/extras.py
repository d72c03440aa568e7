"""What optional settings need: their packages, and an address."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping

_ADDRESS = re.compile(r"https?://[^/\s]+")
_DSN = re.compile(r"https?://[^@/\s]+@[^@/\s]+/(\S*/)?[0-9]+\Z")
# Setting: the extra in pyproject.toml, its packages, and the modules they must provide.
EXTRAS = {
    "SENTRY_DSN": ("sentry", "sentry-sdk", ("sentry_sdk",)),
    "OTEL_EXPORTER_OTLP_ENDPOINT": (
        "opentelemetry",
        "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http",
        ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"),
    ),
}


def problems(values: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each setting that is given and cannot be used."""
    for setting, (extra, packages, modules) in EXTRAS.items():
        # The value is not repeated, because it may contain a key.
        if values[setting] and not _ADDRESS.match(values[setting]):
            yield f"{setting} must be an address that begins with http:// or https://."
        elif setting == "SENTRY_DSN" and values[setting] and not _DSN.match(values[setting]):
            yield f"{setting} must look like https://KEY@HOST/PROJECT."
        if values[setting] and not all(map(_is_installed, modules)):
            yield (
                f"{setting} is set, and its packages are not installed: install the extra "
                f"{extra} (pip install {packages}), or remove the setting."
            )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    # Of its package.
    except ModuleNotFoundError:
        return False
