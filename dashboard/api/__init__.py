"""The dashboard's HTTP API, version 1."""
