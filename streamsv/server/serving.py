"""``streamsv serve``: the application on a port, until somebody ends it."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from streamsv.errors import ConfigError
from streamsv.server.app import create_app, keys_path_of
from streamsv.server.config import ServeConfig, TlsConfig
from streamsv.server.keys import KeyStore, default_keys_path
from streamsv.server.parts import Parts
from streamsv.server.wire import Wire, http_protocol

log = logging.getLogger("streamsv.server")

_BACKLOG = 2048
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""The name also stands for an address that this machine has not, as ::1 where IPv6 is off."""

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
        deadline = time.monotonic() + self._drain_s
        try:
            await parts.calls.drain(self._drain_s)
            while self._app.state.places.are_taken and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
        finally:
            self.should_exit = True


def server_of(config: ServeConfig) -> DrainingServer:
    """The server that ``config`` describes, ready to run.

    Raises ConfigError for an address that others can reach while there is no key, and for a
    certificate that cannot be used.
    """
    check_exposure(config)
    certificate, key = _certificate(config.tls)
    app = create_app(config)
    media = config.media
    return DrainingServer(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            http=http_protocol(
                media.handshake_s, most_connections(), config.limits.connections_per_address
            ),
            ws=Wire,
            ws_max_size=media.max_message_bytes,
            ws_ping_interval=media.ping_interval_s,
            ws_ping_timeout=media.ping_timeout_s,
            ws_per_message_deflate=False,
            ssl_certfile=certificate,
            ssl_keyfile=key,
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


def listening_sockets(config: ServeConfig) -> list[socket.socket]:
    """One for each address that the host stands for, all on one port.

    Raises ConfigError for an address that cannot be listened on.
    """
    sockets: list[socket.socket] = []
    port = config.port
    absent: OSError | None = None
    try:
        found = socket.getaddrinfo(
            config.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, *_, address in dict.fromkeys(found):
            try:
                made = socket.create_server(
                    (address[0], port, *address[2:]), family=family, backlog=_BACKLOG
                )
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                absent = error
                continue
            sockets.append(made)
            port = made.getsockname()[1]
        if not sockets:
            raise absent or OSError("the name stands for no address")
    except (OSError, UnicodeError, OverflowError) as error:
        for each in sockets:
            each.close()
        # socket adds the address to what the system says of it, which is told already.
        said = getattr(error, "strerror", None) or str(error)
        reason = said.partition(" (while attempting")[0].rstrip(".")
        raise ConfigError(
            f"The server cannot listen on {config.host}, port {port}: {reason}. Choose another "
            "port, or end what listens there.",
            f"{config.host}:{port}",
        ) from error
    return sockets


def _certificate(tls: TlsConfig) -> tuple[str | None, str | None]:
    """The paths of chain and key, tried out. Raises ConfigError if they are not usable."""
    if tls.certificate is None or tls.key is None:
        return None, None
    paths = [Path(each).expanduser() for each in (tls.certificate, tls.key)]
    for path in paths:
        try:
            path.open("rb").close()
        except OSError as error:
            raise ConfigError(
                f"tls: {path} cannot be read: {error.strerror}. Give the certificate chain and its "
                "private key, PEM.",
                str(path),
            ) from error
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(paths[0], paths[1], _no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"tls: {paths[0]} and {paths[1]} are no certificate chain and its private key in PEM, "
            f"without a password: {error}.",
            str(paths[0]),
        ) from error
    return str(paths[0]), str(paths[1])


def _no_password() -> str:
    raise ValueError("the key is encrypted")


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
    path = keys_path_of(config)
    with KeyStore(path) as keys:
        if keys.is_empty():
            where = "" if path == default_keys_path() else f" --keys {path}"
            raise ConfigError(
                f"host is {config.host}, which others can reach, and there is no API key. Make "
                f"one with `streamsv keys create{where}`, or listen on 127.0.0.1.",
                config.host,
            )
