"""The file of one exported voiceprint: a sealed JSON document.

The file is UTF-8 JSON, readable by a person and by any program::

    {
      "magic": "streamsv-voiceprint",
      "version": 1,
      "content": {...},
      "sha256": "..."
    }

``sha256`` is the hex digest of ``content`` as JSON with sorted keys, no white space and no ASCII
escapes, in UTF-8. It finds damage; it does not prove who wrote the file. A content has exactly
one spelling (:func:`seal`), and :func:`unseal` takes no other, so a change of any byte is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from streamsv.errors import StoreError

MAGIC = "streamsv-voiceprint"
VERSION = 1
MAX_FILE_BYTES = 256 * 1024

_DAMAGED = "The voiceprint file is damaged or was edited: {}. Export it again, or enroll again."
_FOREIGN = "This is not a voiceprint file: {}. Give a file that streamsv has exported."


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a content in its one spelling, 64 lower-case hex digits."""
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def seal(content: Mapping[str, Any]) -> bytes:
    """The file of a content. The same content always gives the same bytes."""
    document = {
        "magic": MAGIC,
        "version": VERSION,
        "content": json.loads(_canonical(content)),
        "sha256": digest(content),
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def unseal(data: bytes) -> dict[str, Any]:
    """The content of a file that :func:`seal` wrote.

    Raises
    ------
    StoreError
        If the file is something else, was written by a newer streamsv, or is not byte for byte
        what was written.
    """
    if len(data) > MAX_FILE_BYTES:
        raise StoreError(_FOREIGN.format(f"it has {len(data)} bytes, too many"), len(data))
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        # The whole document may be in here, embedding included, so nothing of it is quoted.
        if MAGIC.encode() in data:
            raise StoreError(_DAMAGED.format("it is not valid JSON any more")) from error
        raise StoreError(_FOREIGN.format("it is not a JSON document")) from error
    if not isinstance(document, dict) or document.get("magic") != MAGIC:
        raise StoreError(_FOREIGN.format(f'it does not begin with "magic": "{MAGIC}"'))
    _check_version(document.get("version"))
    content = document.get("content")
    if not isinstance(content, dict):
        raise StoreError(_DAMAGED.format("it has no content"))
    try:
        is_as_written = seal(content) == data
    except (ValueError, RecursionError):  # JSON, but of lone surrogates or too deep to write again
        is_as_written = False
    if not is_as_written:
        raise StoreError(_DAMAGED.format("its bytes do not match its SHA-256"))
    return content


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _check_version(version: Any) -> None:
    if type(version) is not int or version < 1:
        raise StoreError(_DAMAGED.format("its version is not a number from 1"))
    if version > VERSION:
        raise StoreError(
            f"The voiceprint file has version {version}, and this streamsv reads version "
            f"{VERSION}. Upgrade streamsv, or export the file again with this one.",
            version,
        )
