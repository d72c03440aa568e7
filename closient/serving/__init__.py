"""The web server: gunicorn manages the processes, waitress's event loop serves the connections.

Threads get complete requests only and never wait for a client: bodies and responses are buffered,
in temporary files beyond a megabyte, and every connection has deadlines.

``worker``    the gunicorn worker: starts, stops, heartbeat
``server``    accepts connections, closes late ones, hands requests to threads
``channel``   one connection: deadlines, limits, closing
``parser``    one request: rejected if ambiguous, malformed or too large
``tasks``     one response
``stack``     room on Python's stack for the calls of a request
"""
