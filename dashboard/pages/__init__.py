"""The web pages: where a brand manager starts the day."""
