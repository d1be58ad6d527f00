"""The routes, one module per kind of thing; each ends with the table of its operations."""
