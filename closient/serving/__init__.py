"""The web server: gunicorn manages the processes, waitress's event loop talks to the clients.

A thread only ever gets a complete request and never waits for a client: bodies and answers are
buffered, in temporary files beyond a megabyte, and every connection has deadlines.

``worker``    the gunicorn worker: starts, stops, heartbeat
``server``    accepts connections, closes late ones, hands requests to threads
``channel``   one connection: deadlines, limits, closing
``parser``    one request: what is refused, and when
``tasks``     one answer
"""
