from django.apps import AppConfig
from django.urls import register_converter

from closient.http.converters import IdConverter


class ApiConfig(AppConfig):
    name = "closient.http"
    label = "api"

    def ready(self) -> None:
        """Let every address of the project take ids."""
        register_converter(IdConverter, "id")
