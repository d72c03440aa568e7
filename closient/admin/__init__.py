"""What every page of the admin shares: the site, counting, deleting, rows of organizations."""
