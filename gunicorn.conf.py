"""Configuration of gunicorn, in production and for `make run`.

WEB_* variables from the environment or the settings file override the defaults; see
docs/operating.md.
"""

import os
from typing import Any

from closient.env import read_settings
from closient.metrics import processes

# A copy: processes started by SIGHUP read the file again and must not inherit its old values.
env = read_settings({**os.environ})

wsgi_app = "closient.wsgi:application"
bind = env.str("WEB_BIND", default="127.0.0.1:8000")
# An event loop holds the connections; threads get complete requests (closient/serving).
worker_class = "closient.serving.worker.EventLoopWorker"
workers = env.int("WEB_CONCURRENCY", default=2)
threads = 4
# Per process. Beyond it, idle and late connections are closed first.
worker_connections = env.int("WEB_CONNECTIONS", default=2000)
# Seconds before an idle connection is closed.
keepalive = env.int("WEB_IDLE_TIMEOUT", default=20)
# Seconds that a stopping process has to finish running requests.
graceful_timeout = 30
logger_class = (
    "closient.serving.logs.JsonLogger"
    if env.str("LOG_FORMAT", default="text") == "json"
    else "closient.serving.logs.RedactingLogger"
)
# The heartbeat file must not be on a disk that can stall.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
control_socket_disable = True

metrics_bind = env.str("METRICS_BIND", default="")
if metrics_bind:
    # Before the library is imported. SIGHUP runs this again: the folder stays.
    processes.prepare(worker_tmp_dir)

    def on_starting(server: Any) -> None:
        """Start the process that serves the metrics."""
        processes.start_exporter(metrics_bind)

    def child_exit(server: Any, worker: Any) -> None:
        """Keep the counts of an ended process."""
        try:
            processes.add_ended(worker.pid)
        except Exception:
            # An exception here would end gunicorn: a full disk must not.
            server.log.exception("The counts of process %s are lost.", worker.pid)
