"""Reads the cells of files as people and spreadsheets leave them, where nothing is lost."""
