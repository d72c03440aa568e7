from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "closient.jobs"
    label = "jobs"
