"""``python -m streamsv.cli`` is ``streamsv``."""

from streamsv.cli.main import run

run()
