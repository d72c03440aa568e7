"""URL checks per second: the worker, a bare aiohttp loop and LinkChecker on one local server."""

# Checks at a time, for all contestants.
CONCURRENCY = 100
