"""The URL checker: finds out, politely and safely, whether the addresses of offers work."""
