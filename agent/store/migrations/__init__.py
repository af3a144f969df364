"""The store's migrations: numbered SQL files, applied in order, each once."""
