"""The app of cells."""

from django.apps import AppConfig


class CellsConfig(AppConfig):
    """Where organizations live."""

    name = "closient.cells"
