"""A pytest plugin for tests behind a pool that shares sessions and supports no prepared statements.

Loaded after ``tests.environment``, which removes settings from the environment. Every test
commits, as the service does: within one transaction a test would keep its session.
"""

import os

import pytest

os.environ["DATABASE_PREPARED_STATEMENTS"] = "0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.django_db(transaction=True), append=False)
