"""The steps from an older database to today's tables, run when a catalog is opened."""
