from django.apps import AppConfig

from closient.text import lookups


class AccountsConfig(AppConfig):
    name = "closient.accounts"
    label = "accounts"

    def ready(self) -> None:
        """Let comparisons of every model ignore case by the function of this app's migration."""
        lookups.register()
