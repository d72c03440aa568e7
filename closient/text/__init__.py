"""Rules for texts that the whole project shares."""
