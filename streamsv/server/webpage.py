"""The page at ``/``: a few files from ``page/`` beside this module, or from a checkout.

In a wheel the files lie in ``streamsv/server/page``; their source is ``demo/browser``, where a
checkout has them. They are read once, when the application is made, and nothing else is served.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from streamsv.errors import ConfigError

FILES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "streamsv.js": "text/javascript; charset=utf-8",
    "sound.js": "text/javascript; charset=utf-8",
    "capture.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""Every file of the page, and its type."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self' ws: wss:; worker-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""What goes with every file. ``no-cache`` is: keep it, but ask whether it has changed."""

_HERE = Path(__file__).resolve().parent


def directory() -> Path:
    """Where the files are. Raises ConfigError if this installation has none."""
    places = (_HERE / "page", _HERE.parents[1] / "demo" / "browser")
    for place in places:
        if (place / "index.html").is_file():
            return place
    raise ConfigError(
        "The page's files are missing from this installation. Install streamsv again.",
        str(places[0]),
    )


def routes() -> list[BaseRoute]:
    """The page at ``/`` and its files below ``/page/``. Raises ConfigError."""
    place = directory()
    found: list[BaseRoute] = []
    for name, kind in FILES.items():
        path = "/" if name == "index.html" else f"/page/{name}"
        file = _File((place / name).read_bytes(), kind)
        found.append(Route(path, file.answer, methods=["GET"], include_in_schema=False))
    return found


class _File:
    """One file and its answers."""

    def __init__(self, content: bytes, kind: str) -> None:
        self._content = content
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self._headers = {**HEADERS, "Content-Type": kind, "ETag": tag}

    async def answer(self, request: Request) -> Response:
        """The file, or that what the browser has of it is good."""
        known = request.headers.get("if-none-match", "")
        tags = {each.strip().removeprefix("W/") for each in known.split(",")}
        if tags & {self._headers["ETag"], "*"}:  # RFC 9110, 13.1.2: weak comparison, or any
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers)
