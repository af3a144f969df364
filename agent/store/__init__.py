"""The store: a narrow port, its DuckDB shell, and an in-memory double."""
