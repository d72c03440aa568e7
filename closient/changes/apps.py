from django.apps import AppConfig


class ChangesConfig(AppConfig):
    name = "closient.changes"
    label = "changes"
