"""How fast it is: the heart alone, and the agent over the bus.

python -m tests.benchmarks.speed
"""

from __future__ import annotations

from tests.benchmarks import bus, heart


def main() -> None:
    """Measure both and tell."""
    heart.main()
    bus.main()


if __name__ == "__main__":
    main()
