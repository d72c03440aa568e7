"""Thumbnails of product images, made by the worker."""
