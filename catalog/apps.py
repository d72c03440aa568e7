from django.apps import AppConfig
from django.urls import register_converter

from catalog.converters import GtinConverter


class CatalogConfig(AppConfig):
    name = "catalog"

    def ready(self) -> None:
        """Let every address of the project take GTINs."""
        register_converter(GtinConverter, "gtin")
