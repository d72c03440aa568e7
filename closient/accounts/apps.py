from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "closient.accounts"
    label = "accounts"
