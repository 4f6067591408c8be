"""The asyncio client of a streamsv server.

:class:`Client` opens streams (:mod:`stream`) and makes the few HTTP calls (:mod:`rest`). What a
stream says and hears is decided without a socket in :mod:`protocol`, which rests on :mod:`outbox`
(sound on its way), :mod:`wire` (events out of JSON) and :mod:`closing` (why a server closed).
"""

from __future__ import annotations

from streamsv.client.client import Client
from streamsv.client.stream import Patience, Stream
from streamsv.client.wire import Started, UnknownEvent

__all__ = ["Client", "Patience", "Started", "Stream", "UnknownEvent"]
