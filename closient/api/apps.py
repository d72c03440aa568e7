from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "closient.api"
    label = "api"
