"""The backend for a PostgreSQL server of the operator's own."""
