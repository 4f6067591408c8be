"""Where a server is: one address for its HTTP and its WebSocket side, and the key for it."""

from __future__ import annotations

import dataclasses
import ssl
import urllib.parse

from streamsv.errors import ConfigError

_SCHEMES = {"http": False, "ws": False, "https": True, "wss": True}


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """A server at ``host`` and ``port``, below ``path``; ``api_key`` is in no ``repr``."""

    host: str
    port: int
    path: str
    is_secure: bool
    api_key: str | None = dataclasses.field(default=None, repr=False)
    tls: ssl.SSLContext | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def parse(
        cls, url: str, api_key: str | None = None, tls: ssl.SSLContext | None = None
    ) -> Address:
        """``http://host:port`` or ``https://…`` (``ws`` and ``wss`` mean the same).

        Raises
        ------
        ConfigError
            If it is no such address, or holds a key, which belongs in ``api_key``.
        """
        hint = "Give it as http://HOST:PORT or https://HOST."
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"The server's address is not one: {error}. {hint}") from error
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ConfigError(f"{url!r} is not the address of a server. {hint}", url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                f"The server's address has more than host, port and path. {hint} A key is given "
                "apart from it."
            )
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key):
            raise ConfigError("The API key has characters that no key has. Copy it once more.")
        is_secure = _SCHEMES[parts.scheme]
        default = 443 if is_secure else 80
        path = parts.path.rstrip("/")
        if tls is None and is_secure:
            tls = ssl.create_default_context()
        return cls(parts.hostname, port or default, path, is_secure, api_key, tls)

    @property
    def stream_url(self) -> str:
        """The address of the media WebSocket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.is_secure else 'ws'}://{host}:{self.port}{self.path}/v1/stream"

    @property
    def headers(self) -> dict[str, str]:
        """What identifies the caller."""
        return {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
