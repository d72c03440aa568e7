"""The demo: a made-up catalogue of any size, and what `make run` shows of it."""
