"""The bus: a narrow port, its MQTT shell, and an in-memory double."""
