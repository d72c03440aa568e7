"""The demo: a generated catalog of any size, and the processes of `make run`."""
