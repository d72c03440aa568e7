"""Settings, each read once from the environment; `.env.example` explains them to operators."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from closient import embedded_postgres
from closient.accounts.origins import InvalidOrigin, clean_origins
from closient.env import read_cells, read_settings
from closient.metrics import address as metrics_address
from closient.telemetry import extras
from closient.unsafe_settings import reject_unsafe

BASE_DIR = Path(__file__).resolve().parent.parent

env = read_settings(os.environ)

# --- The process -------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set: set it to a long random string in the environment or in .env "
        "(make run creates a .env for local use)."
    )
# Earlier keys: sessions and links signed with them stay valid.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"] if DEBUG else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted.
try:
    TRUSTED_PROXIES = [ipaddress.ip_network(net) for net in env.list("TRUSTED_PROXIES", default=[])]
except ValueError as error:
    raise ImproperlyConfigured(
        f"TRUSTED_PROXIES: {error}; networks look like 10.0.0.0/8, separated by commas."
    ) from None
# The port of the shop that `make run` serves on the loopback address; 0 for none. URL checks and
# sources may connect to it, and to no other private address.
DEMO_SHOP_PORT = env.int("DEMO_SHOP_PORT", default=0)
DATA_FOLDER = Path(env.str("DATA_FOLDER", default=str(BASE_DIR / ".data")))

# --- Applications ------------------------------------------------------------------------------

INSTALLED_APPS = [
    "closient.admin.apps.ClosientAdminConfig",
    # Before Django's auth, whose command changepassword it replaces.
    "closient.accounts",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "corsheaders",
    "csp",
    "pgtrigger",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    # Its command migrate replaces Django's.
    "closient.db",
    "closient.cells",
    "closient.http",
    "closient.tally",
    "closient.changes",
    "closient.periodic",
    "catalog",
    "offers",
    "certifications",
    "dashboard",
]

MIDDLEWARE = [
    "closient.http.middleware.HeadWithoutBody",
    "closient.http.proxies.TrustedProxyMiddleware",
    "closient.http.middleware.RequestId",
    "closient.http.observation.Observe",
    "closient.http.middleware.AllowedHost",
    "closient.http.compression.CompressJson",
    "closient.accounts.cors.CorsMiddleware",
    "closient.http.middleware.RequestSize",
    "django.middleware.security.SecurityMiddleware",
    "closient.accounts.middleware.ContentSecurityPolicyMiddleware",
    "closient.accounts.middleware.BrowserStaticFilesMiddleware",
    "closient.accounts.middleware.BrowserSessionMiddleware",
    "closient.accounts.middleware.NoStoreMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "closient.accounts.middleware.BrowserUserMiddleware",
    "closient.accounts.middleware.BrowserMessageMiddleware",
    "closient.accounts.actors.ActorMiddleware",
    "closient.http.middleware.OwnErrorPages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "closient.urls"
WSGI_APPLICATION = "closient.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "closient" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "dashboard.pages.frame.frame",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- Database ----------------------------------------------------------------------------------

if env.str("DATABASE_URL", default=""):
    DATABASES = {"default": env.db_url("DATABASE_URL")}
    # In a separate variable, so that it can come from a file and contain any characters.
    DATABASES["default"]["PASSWORD"] = DATABASES["default"]["PASSWORD"] or env.str(
        "DATABASE_PASSWORD", default=""
    )
elif DEBUG or env.bool("ALLOW_EMBEDDED_POSTGRES", default=False):
    DATABASES = {"default": embedded_postgres.database_settings(DATA_FOLDER / "postgres")}
else:
    raise ImproperlyConfigured(
        "DATABASE_URL is not set, and the private PostgreSQL is for local use and tests: set "
        "DATABASE_URL, or ALLOW_EMBEDDED_POSTGRES=1 to use the private one with DEBUG off."
    )
# The service's own versions of Django's backend and of the private server's.
BACKENDS = {
    "django.db.backends.postgresql": "closient.db.postgresql",
    "closient.embedded_postgres": "closient.db.embedded",
}
# A streaming standby for lists, exports and pages (closient.db.replicas).
if env.str("DATABASE_REPLICA_URL", default=""):
    DATABASES["replica"] = env.db_url("DATABASE_REPLICA_URL")
    DATABASES["replica"]["PASSWORD"] = (
        DATABASES["replica"]["PASSWORD"] or DATABASES["default"]["PASSWORD"]
    )
    DATABASES["replica"]["TEST"] = {"MIRROR": "default"}
# Further primaries that hold whole organizations, by name (closient.cells).
CELLS = read_cells(env.str("CELLS", default=""))
for cell, url in CELLS.items():
    DATABASES[cell] = env.db_url_config(url)
    DATABASES[cell]["PASSWORD"] = DATABASES[cell]["PASSWORD"] or DATABASES["default"]["PASSWORD"]
for alias, database in DATABASES.items():
    if database["ENGINE"] not in BACKENDS:
        name = {"default": "DATABASE_URL", "replica": "DATABASE_REPLICA_URL"}.get(alias, "CELLS")
        raise ImproperlyConfigured(f"{name} must start with postgres://.")
    database["ENGINE"] = BACKENDS[database["ENGINE"]]
    # Seconds to connect, and until TCP gives up a peer that does not respond. Options in the URL
    # take precedence.
    database["OPTIONS"] = {
        "connect_timeout": env.int("DATABASE_CONNECT_TIMEOUT", default=3),
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    } | database.get("OPTIONS", {})
    database.setdefault("CONN_MAX_AGE", env.int("CONN_MAX_AGE", default=600))
    database.setdefault("CONN_HEALTH_CHECKS", True)
# Maximum seconds of a statement and of an idle transaction in web processes. Workers and commands
# have no such limits.
DATABASE_STATEMENT_TIMEOUT = env.float("DATABASE_STATEMENT_TIMEOUT", default=15.0)
DATABASE_IDLE_TRANSACTION_TIMEOUT = env.float("DATABASE_IDLE_TRANSACTION_TIMEOUT", default=60.0)
# Server-side prepared statements for frequent queries: off behind a pooler that does not support
# them (PgBouncer before 1.21).
DATABASE_PREPARED_STATEMENTS = env.bool("DATABASE_PREPARED_STATEMENTS", default=True)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Users -------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "page-start"

# --- Transport ---------------------------------------------------------------------------------

# In production only HTTPS; usually a proxy terminates it.
HTTPS = env.bool("HTTPS", default=not DEBUG)
SECURE_SSL_REDIRECT = HTTPS
# Monitoring requests these directly.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
HSTS_SECONDS = env.int("HSTS_SECONDS", default=3600 if HTTPS else 0)
SECURE_HSTS_SECONDS = HSTS_SECONDS if HTTPS else 0
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# HSTS for subdomains and preloading is up to the operator of the domain.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# --- Language and time -------------------------------------------------------------------------

LANGUAGE_CODE = "en-us"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True

# --- Files -------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "closient" / "static"]
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles")))
# Storage of uploaded images: files in MEDIA_ROOT, or an S3-compatible bucket.
IMAGE_STORAGE = env.str("IMAGE_STORAGE", default="files")
S3_BUCKET = env.str("S3_BUCKET", default="")
S3_PUBLIC_HOST = env.str("S3_PUBLIC_HOST", default="")
# For a bucket that is not public: URLs that are valid for one hour.
S3_SIGNED_ADDRESSES = env.bool("S3_SIGNED_ADDRESSES", default=False)
IMAGE_STORAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "files": lambda: {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "s3": lambda: {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            # Credentials come from the standard AWS locations.
            "bucket_name": S3_BUCKET,
            "endpoint_url": env.str("S3_ENDPOINT", default="") or None,
            "region_name": env.str("S3_REGION", default="") or None,
            # The public host name of the bucket, if it differs.
            "custom_domain": S3_PUBLIC_HOST or None,
            "querystring_auth": S3_SIGNED_ADDRESSES,
            "object_parameters": {"CacheControl": "public, max-age=31536000, immutable"},
        },
    },
}
if IMAGE_STORAGE not in IMAGE_STORAGES:
    raise ImproperlyConfigured(
        f"IMAGE_STORAGE is {IMAGE_STORAGE!r}: it must be one of {', '.join(IMAGE_STORAGES)}."
    )
if IMAGE_STORAGE == "s3" and not S3_BUCKET:
    raise ImproperlyConfigured("IMAGE_STORAGE is 's3': set S3_BUCKET to the name of the bucket.")
# Private storage of files that wait for the worker to import them.
IMPORT_BUCKET = env.str("IMPORT_BUCKET", default="")
STORAGES = {
    "default": IMAGE_STORAGES[IMAGE_STORAGE](),
    "imports": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": IMPORT_BUCKET,
            "endpoint_url": env.str("S3_ENDPOINT", default="") or None,
            "region_name": env.str("S3_REGION", default="") or None,
        },
    }
    if IMPORT_BUCKET
    else {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": DATA_FOLDER / "imports",
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
MEDIA_URL = env.str("MEDIA_URL", default="/media/")
MEDIA_ROOT = Path(env.str("MEDIA_ROOT", default=str(DATA_FOLDER / "media")))
# Further origins that pages may load images from: the bucket.
IMAGE_SOURCES = env.list(
    "IMAGE_SOURCES", default=[f"https://{S3_PUBLIC_HOST}"] if S3_PUBLIC_HOST else []
)
# Whether the process itself serves images, instead of a web server in front of it.
SERVE_IMAGES = env.bool("SERVE_IMAGES", default=DEBUG)

# --- Pages -------------------------------------------------------------------------------------

# Only our own files; images may also come from the bucket.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:", *IMAGE_SOURCES],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}

# Maximum bytes of a form, including images.
PAGE_LARGEST_BODY = 64 * 1024 * 1024
# Maximum bytes of a file uploaded on the import page.
IMPORT_LARGEST_FILE = env.int("IMPORT_LARGEST_FILE", default=200 * 1024 * 1024)
# The largest file in bytes that is fetched from a source, as it is sent, and the most seconds that
# it may take.
IMPORT_SOURCE_LARGEST_FILE = env.int("IMPORT_SOURCE_LARGEST_FILE", default=500 * 1024 * 1024)
IMPORT_SOURCE_FETCH_SECONDS = env.int("IMPORT_SOURCE_FETCH_SECONDS", default=1800)

# Page requests per minute and user in each process; exports per user or key in all processes.
PAGE_LIMIT_PER_MINUTE = env.int("PAGE_LIMIT_PER_MINUTE", default=600)
EXPORT_LIMIT_PER_MINUTE = env.int("EXPORT_LIMIT_PER_MINUTE", default=30)
EXPORT_LIMIT_PER_DAY = env.int("EXPORT_LIMIT_PER_DAY", default=1_000)
# Maximum seconds of an export.
EXPORT_TIMEOUT = env.int("EXPORT_TIMEOUT", default=300)

# --- Web server --------------------------------------------------------------------------------

# Seconds from the first byte of a request to the end of its headers.
WEB_HEADER_TIMEOUT = env.int("WEB_HEADER_TIMEOUT", default=10)
# Seconds for a body and for a response; each WEB_MIN_RATE bytes transferred add one second.
WEB_BODY_TIMEOUT = env.int("WEB_BODY_TIMEOUT", default=20)
WEB_RESPONSE_TIMEOUT = env.int("WEB_RESPONSE_TIMEOUT", default=30)
WEB_MIN_RATE = env.int("WEB_MIN_RATE", default=32 * 1024)
# Maximum bytes of bodies and responses that each process stores in temporary files.
WEB_MAX_STORED = env.int("WEB_MAX_STORED", default=2 * 1024 * 1024 * 1024)

# --- API ---------------------------------------------------------------------------------------

# Requests per minute and day, per key or user; a key can have its own limits.
API_LIMIT_PER_MINUTE = env.int("API_LIMIT_PER_MINUTE", default=300)
API_LIMIT_PER_DAY = env.int("API_LIMIT_PER_DAY", default=10_000)
API_LIMIT_PUBLISHABLE_PER_MINUTE = env.int("API_LIMIT_PUBLISHABLE_PER_MINUTE", default=100)
# Requests without a valid key, per IP address (without a well-formed key: in each process).
API_LIMIT_ADDRESS_PER_MINUTE = env.int("API_LIMIT_ADDRESS_PER_MINUTE", default=60)
API_LIMIT_ADDRESS_PER_DAY = env.int("API_LIMIT_ADDRESS_PER_DAY", default=5_000)
# Maximum characters of path and query; maximum bytes of a body, and of one with files.
API_LONGEST_ADDRESS = 8_000
API_LARGEST_BODY = 1024 * 1024
API_LARGEST_BATCH = 5 * 1024 * 1024
API_LARGEST_UPLOAD = 11 * 1024 * 1024

# Origins of pages on other hosts that may call the API for every organization. Organizations
# allow others for themselves (closient.accounts.cors).
try:
    CORS_ALLOWED_ORIGINS = clean_origins(env.list("CORS_ALLOWED_ORIGINS", default=[]))
except InvalidOrigin as error:
    raise ImproperlyConfigured(f"CORS_ALLOWED_ORIGINS: {error}") from None
CORS_URLS_REGEX = r"^/(?:dashboard|account)/api/"
CORS_ALLOW_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
CORS_ALLOW_HEADERS = [
    "x-api-key",
    "content-type",
    "if-none-match",
    "if-match",
    "idempotency-key",
]
CORS_EXPOSE_HEADERS = [
    "ETag",
    "RateLimit-Policy",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "X-Request-ID",
    "Location",
    "Idempotency-Replayed",
]
# Seconds for which a browser may cache the response to a preflight request.
CORS_PREFLIGHT_MAX_AGE = 600

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["closient.http.parsers.StrictJsonParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "closient.http.negotiation.DocumentedContentNegotiation",
    # Each view sets its own; a view that sets none is closed.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_SCHEMA_CLASS": "closient.http.openapi.DocumentedSchema",
    "EXCEPTION_HANDLER": "closient.http.exceptions.handle",
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Dashboard API",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "CONTACT": {"name": "Closient", "url": "https://www.closient.com"},
    "LICENSE": {"name": "MIT", "identifier": "MIT"},
    "SERVERS": [{"url": "/", "description": "The service that publishes this document."}],
    "TAGS": [
        {"name": "Dashboard", "description": "The seven numbers, and what explains them."},
        {"name": "History", "description": "What changed, what caused it, and why numbers moved."},
        {"name": "Bulk edits", "description": "Changes of many rows at once, and undo."},
        {"name": "Trade items", "description": "Products, and how complete their data is."},
        {"name": "Images", "description": "Pictures of a trade item."},
        {"name": "Offers", "description": "Where a trade item is sold, and URL checks."},
        {"name": "Certifications", "description": "Certificates of trade items."},
        {"name": "Exports", "description": "Lists as files, and all of an organization."},
        {"name": "Imports", "description": "Files, and sources from which files are fetched."},
        {"name": "Account", "description": "The caller, and the API keys of an organization."},
    ],
    # In the order of the URLconf: the main endpoint comes first.
    "SORT_OPERATIONS": False,
    "SORT_OPERATION_PARAMETERS": False,
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    # Fields with the same name and different values.
    "ENUM_NAME_OVERRIDES": {
        "OrganizationKeyKind": ["csb", "cpk"],
        "CallerKeyKind": ["csb", "csu"],
        "FactEnum": "catalog.completeness.FACT_BY_NAME",
        "OfferStatusEnum": "offers.models.choices.OfferStatus.values",
        "ProductStatusEnum": "catalog.models.product.ProductStatus.values",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "closient.http.openapi.inline_null",
        "closient.http.openapi.share",
        "closient.http.docs.links.add_links",
        "closient.http.docs.introduction.introduce",
    ],
}

# --- URL checks --------------------------------------------------------------------------------

# Web or email address where shops can complain; sent with every check.
URL_CHECK_CONTACT = env.str("URL_CHECK_CONTACT", default="")
# It becomes part of a header.
if not re.fullmatch(r"[!-'*-~]*", URL_CHECK_CONTACT):
    raise ImproperlyConfigured(
        f"URL_CHECK_CONTACT is {URL_CHECK_CONTACT!r}: it must be a web or email address without "
        "spaces and parentheses."
    )
# Concurrent checks in each worker.
URL_CHECK_CONCURRENCY = env.int("URL_CHECK_CONCURRENCY", default=100)

# --- Retention -----------------------------------------------------------------------------------

# Days for which rows are kept: import runs with their files after their last change, the history
# of the numbers, the admin's log, and which rows were deleted. 0 keeps the last three forever.
KEEP_IMPORT_RUNS_DAYS = env.int("KEEP_IMPORT_RUNS_DAYS", default=30)
KEEP_HISTORY_DAYS = env.int("KEEP_HISTORY_DAYS", default=0)
KEEP_ADMIN_LOG_DAYS = env.int("KEEP_ADMIN_LOG_DAYS", default=0)
KEEP_DELETIONS_DAYS = env.int("KEEP_DELETIONS_DAYS", default=30)
# What changed rows, with the values that were replaced; 0 keeps it forever.
KEEP_CHANGES_DAYS = env.int("KEEP_CHANGES_DAYS", default=180)
# A change can be undone for 30 days.
if KEEP_CHANGES_DAYS != 0 and KEEP_CHANGES_DAYS < 31:
    raise ImproperlyConfigured(
        f"KEEP_CHANGES_DAYS is {KEEP_CHANGES_DAYS}: it must be at least 31, or 0 for forever."
    )
if KEEP_IMPORT_RUNS_DAYS < 1:
    raise ImproperlyConfigured(
        f"KEEP_IMPORT_RUNS_DAYS is {KEEP_IMPORT_RUNS_DAYS}: it must be at least 1."
    )
# The home page shows three months.
if KEEP_HISTORY_DAYS != 0 and KEEP_HISTORY_DAYS < 100:
    raise ImproperlyConfigured(
        f"KEEP_HISTORY_DAYS is {KEEP_HISTORY_DAYS}: it must be at least 100, or 0 for forever."
    )
if KEEP_ADMIN_LOG_DAYS < 0:
    raise ImproperlyConfigured(
        f"KEEP_ADMIN_LOG_DAYS is {KEEP_ADMIN_LOG_DAYS}: it must be a number of days, or 0."
    )
if KEEP_DELETIONS_DAYS < 0:
    raise ImproperlyConfigured(
        f"KEEP_DELETIONS_DAYS is {KEEP_DELETIONS_DAYS}: it must be a number of days, or 0."
    )

# --- Audits --------------------------------------------------------------------------------------

# Days after which the worker recounts the numbers of an organization from its rows; 0 for never.
AUDIT_INTERVAL_DAYS = env.int("AUDIT_INTERVAL_DAYS", default=7)
if AUDIT_INTERVAL_DAYS < 0:
    raise ImproperlyConfigured(
        f"AUDIT_INTERVAL_DAYS is {AUDIT_INTERVAL_DAYS}: it must be a number of days, or 0."
    )

# --- Metrics -----------------------------------------------------------------------------------

# Address and port on which web processes and workers serve metrics; empty for none.
METRICS_BIND = env.str("METRICS_BIND", default="")
if METRICS_BIND:
    try:
        metrics_address.parse(METRICS_BIND)
    except ValueError as error:
        raise ImproperlyConfigured(str(error)) from None

# --- Reports to other services -----------------------------------------------------------------

# Errors to Sentry, and traces to a collector of OpenTelemetry; each needs an extra.
SENTRY_DSN = env.str("SENTRY_DSN", default="")
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="")
if problems := [*extras.problems(globals())]:
    raise ImproperlyConfigured("\n".join(problems))

# --- Logs --------------------------------------------------------------------------------------

# text or json: a sentence, or a JSON object, on each line.
LOG_FORMAT = env.str("LOG_FORMAT", default="text")
if LOG_FORMAT not in {"text", "json"}:
    raise ImproperlyConfigured(f"LOG_FORMAT is {LOG_FORMAT!r}: it must be text or json.")
# One line for each request. Without it, the proxy's log has the requests.
ACCESS_LOG = env.bool("ACCESS_LOG", default=LOG_FORMAT == "json")
# With DEBUG, crashes are shown to everyone, but without settings.
DEFAULT_EXCEPTION_REPORTER_FILTER = "closient.http.logs.NoSettingsFilter"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "closient.http.logs.RequestFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
        },
        "json": {"()": "closient.http.logs.JsonFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "json" if LOG_FORMAT == "json" else "line",
        }
    },
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        # Replaces Django's handlers, which do not log request ids and do not remove keys.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        # Requests of unknown paths must not fill the log.
        "django.request": {"level": "ERROR"},
        # It logs each client that disconnects.
        "waitress": {"level": "ERROR"},
        "closient.access": {"level": "INFO"},
    },
}

reject_unsafe(globals())
