"""How gunicorn serves the project: read by gunicorn itself, in production and for `make run`.

WEB_CONCURRENCY (processes) and WEB_BIND override what is here; see docs/operating.md.
"""

import os

wsgi_app = "closient.wsgi:application"
bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
# An event loop holds the connections; threads get complete requests. See closient/serving.
worker_class = "closient.serving.worker.EventLoopWorker"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 4
# In each process. Beyond it the connections that are idle or late are closed first.
worker_connections = int(os.environ.get("WEB_CONNECTIONS", "2000"))
# Seconds for which an idle connection is kept.
keepalive = int(os.environ.get("WEB_IDLE_TIMEOUT", "20"))
# Seconds in which a process that stops answers what has begun.
graceful_timeout = 30
logger_class = "closient.serving.logs.RedactingLogger"
# The heartbeat file must not be on a disk that can stall.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
control_socket_disable = True
