"""``python -m streamsv.cli`` is ``streamsv``."""

from streamsv.cli.entry import run

run()
