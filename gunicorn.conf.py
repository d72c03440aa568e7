"""How gunicorn serves the project: read by gunicorn itself, in production and for `make run`.

WEB_CONCURRENCY (processes) and WEB_BIND override what is here; see docs/operating.md.
"""

import os

wsgi_app = "closient.wsgi:application"
bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
# Threads: they wait for the database, not for the processor; slow clients hold none of them.
worker_class = "closient.serving.ProblemWorker"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 4
# The longest that gunicorn knows; the project itself refuses earlier, with a problem document.
limit_request_line = 8190
# The heartbeat file must not be on a disk that can stall.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
control_socket_disable = True
