"""An upload: recordings that arrive in pieces, go to temporary files, and are gone afterwards.

The temporary files have no names: they vanish with the request, and with the process, however it
ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import IO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from streamsv.server.config import RestConfig

_MOST_FIELDS = 8
_MOST_FIELD_BYTES = 4096
_MOST_NAME_CHARACTERS = 100
_IN_MEMORY_BYTES = 1 << 20
_FILE_FIELD = "file"


@dataclass(frozen=True, slots=True)
class Recording:
    """One uploaded sound file: what it was called, and an open file at its start."""

    name: str
    file: IO[bytes]


@dataclass(frozen=True, slots=True)
class Upload:
    """Recordings in their order, and the text fields beside them."""

    recordings: tuple[Recording, ...]
    fields: Mapping[str, str]


@contextlib.asynccontextmanager
async def received(request: Request, config: RestConfig) -> AsyncIterator[Upload]:
    """The upload that is the body of ``request``, for as long as the block lasts.

    Either ``multipart/form-data`` with one or more files in fields named ``file``, or one sound
    file as it is, as ``audio/*`` or ``application/octet-stream``. Raises HTTPException: 400 for a
    body that cannot be taken apart, 408 if it comes too slowly, 413 if it is too large, 415 for
    another type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:18]) > config.max_upload_bytes:
        raise _too_large(config)
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(config.upload_s):
                if kind == "multipart/form-data":
                    upload = await _of_form(request, config, stack)
                elif kind.startswith("audio/") or kind == "application/octet-stream":
                    upload = await _of_body(request, config, stack)
                else:
                    raise HTTPException(
                        415,
                        "Send a sound file as multipart/form-data in a field named `file`, or as "
                        "it is with Content-Type audio/* or application/octet-stream.",
                    )
        except TimeoutError as error:
            raise HTTPException(
                408, f"The upload took longer than {config.upload_s:g} s. Send it faster, or less."
            ) from error
        if not upload.recordings:
            raise HTTPException(400, "There is no recording. Send one in a field named `file`.")
        yield upload


async def read_body(request: Request, max_bytes: int, deadline_s: float) -> bytes:
    """A small body.

    Raises HTTPException: 413 as soon as it is too large, 408 if it is not there in ``deadline_s``.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(deadline_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise HTTPException(413, f"The body may have {max_bytes} bytes.")
    except TimeoutError as error:
        raise HTTPException(
            408, f"The body took longer than {deadline_s:g} s. Send it again."
        ) from error
    return bytes(body)


async def _of_form(
    request: Request, config: RestConfig, stack: contextlib.AsyncExitStack
) -> Upload:
    parser = MultiPartParser(
        request.headers,
        _limited(request, config),
        max_files=config.max_recordings,
        max_fields=_MOST_FIELDS,
        max_part_size=_MOST_FIELD_BYTES,
    )
    try:
        form: FormData = await parser.parse()
    except (MultiPartException, UnicodeError, ValueError) as error:
        sentence = error.message if isinstance(error, MultiPartException) else "it is malformed."
        raise HTTPException(400, f"The form cannot be read: {sentence}") from error
    stack.push_async_callback(form.close)
    recordings: list[Recording] = []
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name == _FILE_FIELD:
            recordings.append(Recording(_shown(value.filename, len(recordings)), value.file))
        elif isinstance(value, str) and name not in fields:
            fields[name] = value
        else:
            raise HTTPException(
                400,
                "A form has files in fields named `file`, and each other field once, as text.",
            )
    return Upload(tuple(recordings), fields)


async def _of_body(
    request: Request, config: RestConfig, stack: contextlib.AsyncExitStack
) -> Upload:
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - the stack closes it
    stack.callback(file.close)
    async for chunk in _limited(request, config):
        await asyncio.to_thread(file.write, chunk)
    if not file.tell():
        return Upload((), {})
    file.seek(0)
    return Upload((Recording(_shown(None, 0), file),), {})


async def _limited(request: Request, config: RestConfig) -> AsyncGenerator[bytes, None]:
    taken = 0
    async for chunk in request.stream():
        taken += len(chunk)
        if taken > config.max_upload_bytes:
            raise _too_large(config)
        yield chunk


def _too_large(config: RestConfig) -> HTTPException:
    return HTTPException(
        413, f"An upload may have {config.max_upload_bytes} bytes. Send less, or as FLAC or Opus."
    )


def _shown(name: str | None, index: int) -> str:
    """A name to speak of a recording by: its own if that can be printed."""
    if name and name.isprintable():
        return name[:_MOST_NAME_CHARACTERS]
    return f"recording {index + 1}"
