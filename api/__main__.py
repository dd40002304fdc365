"""``python -m api`` is the command ``bartender``."""

from api.cli import main

main()
