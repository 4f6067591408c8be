"""The client: a server's address and key, the streams it opens, and the calls beside them."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from streamsv.audio import AudioFormat
from streamsv.client.address import Address
from streamsv.client.protocol import Wish
from streamsv.client.rest import Rest
from streamsv.client.stream import Patience, Stream
from streamsv.errors import ConfigError


class Client:
    """A streamsv server, as a program sees it.

    Parameters
    ----------
    url:
        ``http://HOST:PORT`` or ``https://HOST``.
    api_key:
        The key, where the server wants one; it is sent in a header and in no ``repr``.
    tls:
        For https with a certificate of one's own; default is what the system trusts.
    patience:
        How long is waited for what, and how much sound is kept for a dropped connection.

    Raises
    ------
    ConfigError
        If the address is none.

    Nothing is connected until a stream is entered or a call is made::

        client = Client("http://127.0.0.1:8080")
        async with client.verify("alice", AudioFormat("s16le", 16000)) as stream:
            await stream.send(pcm)
            await stream.stop()
            async for event in stream:
                print(event)
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._address = Address.parse(url, api_key, tls)
        self._patience = patience
        self._rest = Rest(self._address)

    def verify(
        self,
        speakers: str | Iterable[str],
        audio: AudioFormat,
        *,
        is_live: bool = False,
        call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Stream:
        """A stream that decides each claimed voiceprint separately.

        ``is_live`` is for a source that cannot wait, see :class:`~streamsv.client.Stream`;
        ``call_id`` and ``metadata`` are kept with the session.
        """
        names = (speakers,) if isinstance(speakers, str) else tuple(speakers)
        return self._stream("verify", names, audio, is_live, call_id, metadata)

    def identify(
        self,
        speakers: Iterable[str],
        audio: AudioFormat,
        *,
        is_live: bool = False,
        call_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Stream:
        """A stream that decides which of ``speakers`` it is, or nobody; else as :meth:`verify`."""
        return self._stream("identify", tuple(speakers), audio, is_live, call_id, metadata)

    def enroll(
        self,
        speaker: str,
        audio: AudioFormat,
        *,
        consent_by: str | None = None,
        consent_purpose: str | None = None,
        is_replacing: bool = False,
        is_live: bool = False,
    ) -> Stream:
        """A stream that makes a voiceprint; ``enrollment_completed`` says that it is stored.

        ``consent_by`` and ``consent_purpose`` say who agreed to what, and go together.
        """
        consent = _consent(consent_by, consent_purpose)
        more: dict[str, Any] = {} if consent is None else {"consent": consent}
        if is_replacing:
            more["replace"] = True
        return self._open(Wish("enroll", (speaker,), audio, more), is_live)

    async def enroll_files(
        self,
        speaker: str,
        files: Iterable[str | os.PathLike[str]],
        *,
        consent_by: str | None = None,
        consent_purpose: str | None = None,
        is_replacing: bool = False,
    ) -> dict[str, Any]:
        """Make a voiceprint of sound files, several recordings of one voice.

        Returns what the server says of it. Raises VoiceprintExists, NotEnoughSpeech,
        InconsistentEnrollment and UnsupportedAudio.
        """
        paths = [Path(file) for file in files]
        consent = _consent(consent_by, consent_purpose)
        return await asyncio.to_thread(self._rest.enroll, speaker, paths, consent, is_replacing)

    async def voiceprints(self) -> list[dict[str, Any]]:
        """All voiceprints of the server, without their embeddings."""
        return await asyncio.to_thread(self._rest.voiceprints)

    async def delete(self, speaker: str) -> None:
        """Delete a voiceprint. Raises UnknownSpeaker."""
        await asyncio.to_thread(self._rest.delete, speaker)

    async def session(self, session_id: str) -> dict[str, Any]:
        """The result of a session, as far as it is known."""
        return await asyncio.to_thread(self._rest.session, session_id)

    def _stream(
        self,
        mode: str,
        speakers: tuple[str, ...],
        audio: AudioFormat,
        is_live: bool,
        call_id: str | None,
        metadata: Mapping[str, Any] | None,
    ) -> Stream:
        given = {"call_id": call_id, "metadata": metadata}
        more = {name: value for name, value in given.items() if value is not None}
        return self._open(Wish(mode, speakers, audio, more), is_live)

    def _open(self, wish: Wish, is_live: bool) -> Stream:
        # Also a live source is a patient one to the server: what is too much is dropped here, where
        # a minute is kept, and what gathered while there was no connection is taken in full.
        paced = dataclasses.replace(wish, more={**wish.more, "pacing": "patient"})
        return Stream(self._address, paced, is_live, self._patience)


def _consent(by: str | None, purpose: str | None) -> dict[str, str] | None:
    if by is None and purpose is None:
        return None
    if by is None or purpose is None:
        raise ConfigError("Consent is given by somebody for a purpose: pass both, or neither.")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"given_at": now.replace("+00:00", "Z"), "by": by, "purpose": purpose}
