"""``python -m simulator`` is the command ``skipper``."""

from simulator.cli import main

main()
