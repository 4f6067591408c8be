"""``streamsv serve``: the application on a port, until somebody ends it."""

from __future__ import annotations

import asyncio
import logging
import sys
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from streamsv.errors import ConfigError
from streamsv.server.app import create_app, keys_path_of
from streamsv.server.config import ServeConfig
from streamsv.server.keys import KeyStore
from streamsv.server.parts import Parts
from streamsv.server.wire import Wire, http_protocol

log = logging.getLogger("streamsv.server")

_KEPT_FILES = 64
"""Descriptors that no connection gets."""


class DrainingServer(uvicorn.Server):
    """uvicorn, which lets live calls finish before it ends.

    The first SIGTERM or SIGINT drains: the server is not ready, takes no new session, and ends
    when the last call has, or after ``drain_s``. A second one ends it now.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_s: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_s = drain_s
        self._serving_loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: Any = None) -> None:
        """Begin to listen."""
        self._serving_loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal that asks to end."""
        if self._drain is not None or self._serving_loop is None or not self.started:
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        self._serving_loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """Let the calls finish, then end. On the loop."""
        if self._drain is None:
            log.info("Draining: no new sessions, at most %g s for the live ones.", self._drain_s)
            self._drain = asyncio.get_running_loop().create_task(self._drain_and_end())

    async def _drain_and_end(self) -> None:
        parts: Parts = self._app.state.parts
        try:
            await parts.calls.drain(self._drain_s)
        finally:
            self.should_exit = True


def server_of(config: ServeConfig) -> DrainingServer:
    """The server that ``config`` describes, ready to run.

    Raises ConfigError for an address that others can reach while there is no key.
    """
    check_exposure(config)
    app = create_app(config)
    media, tls = config.media, config.tls
    return DrainingServer(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            http=http_protocol(media.handshake_s, most_connections()),
            ws=Wire,
            ws_max_size=media.max_message_bytes,
            ws_ping_interval=media.ping_interval_s,
            ws_ping_timeout=media.ping_timeout_s,
            ws_per_message_deflate=False,
            ssl_certfile=tls.certificate,
            ssl_keyfile=tls.key,
            access_log=False,
            log_level="warning",
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        ),
        app,
        config.drain_s,
    )


def most_connections() -> int:
    """Connections that this process may have and still open its files."""
    try:
        import resource
    except ModuleNotFoundError:  # a system without such limits
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(1, soft - _KEPT_FILES)


def check_exposure(config: ServeConfig) -> None:
    """Make sure that a server without keys is reached from this machine only."""
    if config.is_loopback:
        return
    with KeyStore(keys_path_of(config)) as keys:
        if keys.is_empty():
            raise ConfigError(
                f"host is {config.host}, which others can reach, and there is no API key. Make "
                "one with `streamsv keys create`, or listen on 127.0.0.1.",
                config.host,
            )
