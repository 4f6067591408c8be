"""``python -m streamsv`` is ``streamsv``."""

from streamsv.cli.entry import run

run()
