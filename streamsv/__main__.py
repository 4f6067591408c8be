"""``python -m streamsv`` is ``streamsv``."""

from streamsv.cli.main import run

run()
