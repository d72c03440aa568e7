"""A pytest plugin for tests behind a pool that does not support prepared statements.

Loaded after ``tests.environment``, which removes settings from the environment.
"""

import os

os.environ["DATABASE_PREPARED_STATEMENTS"] = "0"
