"""The HTTP API of accounts, version 1."""
