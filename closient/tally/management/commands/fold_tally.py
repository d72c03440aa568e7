"""manage.py fold_tally: the former name of ``compact_tally``, for existing scripts."""

from closient.tally.management.commands.compact_tally import Command

__all__ = ["Command"]
