"""The URL checker: checks whether the URLs of offers work, within the limits of shops."""
