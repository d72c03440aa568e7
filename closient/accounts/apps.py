from django.apps import AppConfig

from closient.text import lookups


class AccountsConfig(AppConfig):
    name = "closient.accounts"
    label = "accounts"

    def ready(self) -> None:
        """Register the case-insensitive lookups; a migration of this app creates their function."""
        lookups.register()
