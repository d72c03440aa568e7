"""How gunicorn serves the project: read by gunicorn itself, in production and for `make run`.

WEB_* variables, of the environment or of the settings file, override what is here; see
docs/operating.md.
"""

import os

from closient.env import read_settings

# A copy: processes that SIGHUP starts read the file again and must not inherit its former values.
env = read_settings({**os.environ})

wsgi_app = "closient.wsgi:application"
bind = env.str("WEB_BIND", default="127.0.0.1:8000")
# An event loop holds the connections; threads get complete requests. See closient/serving.
worker_class = "closient.serving.worker.EventLoopWorker"
workers = env.int("WEB_CONCURRENCY", default=2)
threads = 4
# In each process. Beyond it the connections that are idle or late are closed first.
worker_connections = env.int("WEB_CONNECTIONS", default=2000)
# Seconds for which an idle connection is kept.
keepalive = env.int("WEB_IDLE_TIMEOUT", default=20)
# Seconds in which a process that stops answers what has begun.
graceful_timeout = 30
logger_class = "closient.serving.logs.RedactingLogger"
# The heartbeat file must not be on a disk that can stall.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
control_socket_disable = True
