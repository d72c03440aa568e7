from django.apps import AppConfig


class TallyConfig(AppConfig):
    name = "closient.tally"
    label = "tally"
