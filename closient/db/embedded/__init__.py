"""The backend for the private PostgreSQL."""
