from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "closient.periodic"
    label = "jobs"
