"""`python -m agent.cli`: the command without its script."""

from agent.cli import main

main()
