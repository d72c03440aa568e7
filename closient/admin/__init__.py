"""Base classes of the admin: lists, forms, counts and deletion."""
