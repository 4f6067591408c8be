"""The few HTTP calls beside a stream, with the standard library alone.

They block; :class:`streamsv.client.Client` makes them in a thread. No redirect is followed: it
would carry the key elsewhere.
"""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from streamsv.client.address import Address
from streamsv.client.closing import error_of_response
from streamsv.errors import ConnectionLost, ProtocolError, UnsupportedAudio

_MOST_ANSWER = 64 << 20
_PAGE = 100


class Rest:
    """Calls to the server at ``address``, each given up after ``timeout_s``.

    Every method raises AuthenticationError, CapacityError or another error that the server names,
    and ConnectionLost if it does not answer.
    """

    def __init__(self, address: Address, timeout_s: float = 60.0) -> None:
        self._address = address
        self._timeout_s = timeout_s

    def voiceprints(self) -> list[dict[str, Any]]:
        """All voiceprints, without their embeddings, page by page."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            query = {"limit": _PAGE} | ({} if after is None else {"after": after})
            page = self.call("GET", f"/v1/voiceprints?{urlencode(query)}")
            found += page["voiceprints"]
            after = page.get("next")
            if after is None:
                return found

    def voiceprint(self, speaker: str) -> dict[str, Any]:
        """One voiceprint, without its embedding. Raises UnknownSpeaker."""
        return self.call("GET", f"/v1/voiceprints/{_quoted(speaker)}")

    def delete(self, speaker: str) -> None:
        """Delete a voiceprint. Raises UnknownSpeaker."""
        self.call("DELETE", f"/v1/voiceprints/{_quoted(speaker)}")

    def enroll(
        self,
        speaker: str,
        files: Sequence[Path],
        consent: Mapping[str, str] | None,
        is_replacing: bool,
    ) -> dict[str, Any]:
        """Make a voiceprint of sound files, several recordings of one voice.

        Raises VoiceprintExists, NotEnoughSpeech, InconsistentEnrollment and UnsupportedAudio.
        """
        fields = {f"consent_{name}": value for name, value in (consent or {}).items()}
        body, kind = _multipart(fields, [(path.name, _read(path)) for path in files])
        query = "?replace=true" if is_replacing else ""
        path = f"/v1/voiceprints/{_quoted(speaker)}{query}"
        return self.call("POST", path, body, kind)

    def session(self, session_id: str) -> dict[str, Any]:
        """The result of a session, as far as it is known."""
        return self.call("GET", f"/v1/sessions/{_quoted(session_id)}")

    def call(
        self, method: str, path: str, body: bytes | None = None, kind: str | None = None
    ) -> dict[str, Any]:
        """The JSON object that the server answers, empty if it answers nothing."""
        address = self._address
        headers = {**address.headers, "Accept": "application/json"}
        if kind is not None:
            headers["Content-Type"] = kind
        connection = self._connection()
        try:
            connection.request(method, f"{address.path}{path}", body, headers)
            response = connection.getresponse()
            answer = response.read(_MOST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ConnectionLost(
                f"There is no answer from {address}: {problem.rstrip('.')}. Check the address and "
                "that the server runs.",
                str(address),
            ) from error
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise error_of_response(response.status, dict(response.headers), answer)
        return _object(answer)

    def _connection(self) -> http.client.HTTPConnection:
        address = self._address
        if address.is_secure:
            return http.client.HTTPSConnection(
                address.host, address.port, timeout=self._timeout_s, context=address.tls
            )
        return http.client.HTTPConnection(address.host, address.port, timeout=self._timeout_s)


def _object(answer: bytes) -> dict[str, Any]:
    try:
        said = json.loads(answer) if answer.strip() else {}
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise ProtocolError(
            "The server answered something that is not a JSON object. Check that the address is "
            "that of a streamsv server."
        )
    return said


def _multipart(fields: Mapping[str, str], files: Sequence[tuple[str, bytes]]) -> tuple[bytes, str]:
    """A ``multipart/form-data`` body (RFC 7578) and its content type; files are named ``file``."""
    boundary = secrets.token_hex(16)
    parts = [
        (f'name="{name}"', "text/plain; charset=utf-8", value.encode())
        for name, value in fields.items()
    ]
    parts += [
        (f'name="file"; filename="{_ascii(name)}"', "application/octet-stream", content)
        for name, content in files
    ]
    body = bytearray()
    for what, type_, content in parts:
        head = f"Content-Disposition: form-data; {what}\r\nContent-Type: {type_}\r\n\r\n"
        body += f"--{boundary}\r\n{head}".encode() + content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return bytes(body), f"multipart/form-data; boundary={boundary}"


def _ascii(name: str) -> str:
    """A file's name as it may stand between quotes in a header: the server only repeats it."""
    shown = (c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    return "".join(shown)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnsupportedAudio(
            f"{path} cannot be read: {error.strerror}. Check the name and its permissions.",
            str(path),
        ) from error


def _quoted(text: str) -> str:
    return quote(text, safe="")
