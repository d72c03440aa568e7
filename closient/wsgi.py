"""The WSGI application: loaded by processes that answer requests, and by no others."""

import os

from django.core.wsgi import get_wsgi_application

from closient.db.limits import limit_this_process
from closient.telemetry import sentry, traces

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")

application = traces.traced(get_wsgi_application())
limit_this_process()
sentry.start()
