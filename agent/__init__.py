"""The agent: a heart that learns and decides, and the shells that connect it to the world."""
