"""The settings of a newer version: those of the service, with further migrations."""

from closient import settings

globals().update({name: value for name, value in vars(settings).items() if name.isupper()})
INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.newer_version"]
