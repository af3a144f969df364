"""Which Placewise this is."""

from importlib.metadata import version

VERSION = version("placewise")
"""As installed. Read once: looking it up opens files."""
