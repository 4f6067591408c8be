"""``streamsv serve``: verification as a service, until it is ended."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamsv import config as configuration
from streamsv.cli import terminal
from streamsv.cli.options import DebugOption, StoreOption
from streamsv.errors import ConfigError

if TYPE_CHECKING:
    from streamsv.server.config import ServeConfig


def serve(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port to listen on; 0 takes any. Default: 8080.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="Server configuration, YAML. Default: built in."
        ),
    ] = None,
    store: StoreOption = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--tls-certificate", metavar="FILE", help="Certificate chain, PEM."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, PEM.")
    ] = None,
    _debug: DebugOption = False,
) -> None:
    """Serve verification on one port: calls by WebSocket, the rest by HTTP.

    While there is no API key it listens on this machine only. SIGTERM lets live calls finish.
    """
    from streamsv.engine.collector import spared_collector

    try:
        from streamsv.server.serving import check_exposure, listening_sockets, server_of
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The server needs {error.name}, which is not installed. Run "
            "`pip install 'streamsv[serve]'`.",
            error.name,
        ) from error
    settings = _settings(config, host, port, store, certificate, key)
    check_exposure(settings)
    sockets = listening_sockets(settings)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    server = server_of(settings)
    scheme = "https" if settings.tls.certificate else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    terminal.errors().say(f"Serving at {scheme}://{host}:{sockets[0].getsockname()[1]}")
    if settings.is_loopback:
        terminal.errors().say("It listens on this machine only.")
    with spared_collector():
        server.run(sockets)


def _settings(
    config: Path | None,
    host: str | None,
    port: int | None,
    store: Path | None,
    certificate: Path | None,
    key: Path | None,
) -> ServeConfig:
    """The configuration of ``config`` with what the options change."""
    from streamsv.server.config import ServeConfig, TlsConfig

    settings = ServeConfig() if config is None else configuration.load(ServeConfig, config)
    changes = {
        "host": host,
        "port": port,
        "store": None if store is None else str(store),
        "tls": None
        if certificate is None and key is None
        else TlsConfig(
            None if certificate is None else str(certificate), None if key is None else str(key)
        ),
    }
    changed = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(settings, **changed)  # type: ignore[arg-type]
