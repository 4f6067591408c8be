"""Is this webhook from the server, unchanged, and fresh? With the standard library alone."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from streamsv.errors import AuthenticationError, ProtocolError

SIGNATURE_HEADER = "Streamsv-Signature"
TOLERANCE_S = 300.0


def verify_webhook(
    body: bytes,
    signature: str | Mapping[str, str],
    secret: str,
    tolerance_s: float = TOLERANCE_S,
    now: float | None = None,
) -> dict[str, Any]:
    """The webhook that ``body`` is, once its signature has been found right.

    The signature is ``t=<unix seconds>,v1=<hex>``, where ``v1`` is HMAC-SHA256 with the secret over
    ``<t>.`` and the body, byte for byte as it came; so verify before parsing. A webhook may come
    more than once: remember its ``id``.

    Parameters
    ----------
    body:
        The body of the request, as it came.
    signature:
        The header ``Streamsv-Signature``, or all headers.
    secret:
        The secret that the server signs with for this URL.
    tolerance_s:
        How old it may be, and how far ahead the server's clock.
    now:
        Unix seconds; by default this machine's clock.

    Raises
    ------
    AuthenticationError
        If it is not signed, not with this secret, was changed on the way, or is too old.
    ProtocolError
        If it is signed and yet no JSON object.
    """
    header = signature if isinstance(signature, str) else _header(signature)
    fields = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in fields if name == "t"]
    given = [value for name, _, value in fields if name == "v1"]
    if len(times) != 1 or not given or not (times[0].isascii() and times[0].isdigit()):
        raise AuthenticationError(
            f"The webhook is not signed. Pass its header {SIGNATURE_HEADER} as it came."
        )
    expected = hmac.new(secret.encode(), times[0].encode() + b"." + body, hashlib.sha256)
    wanted = expected.hexdigest().encode()
    # No short cut: each is compared, and each comparison takes as long whatever is given.
    is_right = [
        hmac.compare_digest(wanted, each.encode("utf-8", "surrogatepass")) for each in given
    ]
    if not any(is_right):
        raise AuthenticationError(
            "The webhook's signature is wrong: another secret, or the body was changed. Pass the "
            "body as it came, and compare the secrets."
        )
    if not abs((time.time() if now is None else now) - int(times[0])) <= tolerance_s:
        raise AuthenticationError(
            f"The webhook is older than {tolerance_s:g} s, or the clocks differ. Somebody may have "
            "sent it again; check the clock of this machine."
        )
    try:
        found = json.loads(body)
    except ValueError as error:
        raise ProtocolError("The webhook is not JSON.") from error
    if not isinstance(found, dict):
        raise ProtocolError("The webhook is not a JSON object.")
    return found


def _header(headers: Mapping[str, str]) -> str:
    wanted = SIGNATURE_HEADER.lower()
    return next((value for name, value in headers.items() if name.lower() == wanted), "")
