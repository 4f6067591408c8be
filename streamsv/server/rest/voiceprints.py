"""``/v1/voiceprints``: enroll from an upload, list, show and delete."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel
from starlette.responses import Response

from streamsv.errors import ConfigError, StreamsvError, UnknownSpeaker, VoiceprintExists
from streamsv.server.enrollments import Caller, store_voiceprint
from streamsv.server.parts import Parts
from streamsv.server.rest.asking import Asker, PartsHere, asker
from streamsv.server.rest.enrollment import Places
from streamsv.server.rest.problems import Json, described, problem, problem_of
from streamsv.server.rest.uploads import received
from streamsv.voiceprints import Consent, Voiceprint, VoiceprintSummary, check_speaker

T = TypeVar("T")

router = APIRouter(tags=["voiceprints"])

_MOST_ON_A_PAGE = 1000
_CONSENT_FIELDS = ("consent_given_at", "consent_by", "consent_purpose")

Enroller = Annotated[Asker, Depends(asker("enroll"))]
Speaker = Annotated[
    str,
    PathParameter(description="The speaker's id: 1 to 128 printable characters, not `.` or `..`."),
]
Text = Annotated[str | None, Query(max_length=1024)]


class ConsentFields(BaseModel):
    """When consent was given (ISO 8601), by whom, and for what."""

    given_at: str
    by: str
    purpose: str


class VoiceprintFields(BaseModel):
    """A voiceprint without its embedding, which never leaves the server."""

    speaker: str
    fingerprint: str
    net_speech_s: float
    recordings: int
    channel: str
    created_at: str
    updated_at: str
    consent: ConsentFields | None


class VoiceprintPage(BaseModel):
    """Voiceprints by speaker; ``next`` as ``after`` gives the following page, if there is one."""

    voiceprints: list[VoiceprintFields]
    next: str | None


class EnrolledFields(BaseModel):
    """A new voiceprint, and how each stretch of its recordings was."""

    voiceprint: VoiceprintFields
    cohesion: float | None
    feedback: list[dict[str, Any]]


_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 1,
                            "description": "Recordings of the speaker: WAV, FLAC, OGG, Opus, MP3.",
                        },
                        **{name: {"type": "string"} for name in _CONSENT_FIELDS},
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get(
    "/v1/voiceprints",
    summary="Everybody who is enrolled",
    response_model=VoiceprintPage,
    responses=described(401, 403, 422, 429, 503),
)
async def list_voiceprints(
    parts: PartsHere,
    _by: Enroller,
    limit: Annotated[int, Query(ge=1, le=_MOST_ON_A_PAGE)] = 100,
    after: Annotated[str | None, Query(max_length=128)] = None,
) -> Response:
    """By speaker, a page at a time."""
    found = await in_store(parts, lambda: parts.store.list(after, limit + 1))
    page = found[:limit]
    following = page[-1].speaker if len(found) > limit else None
    return Json({"voiceprints": [_fields(each) for each in page], "next": following})


@router.get(
    "/v1/voiceprints/{speaker:path}",
    summary="One voiceprint",
    response_model=VoiceprintFields,
    responses=described(401, 403, 404, 422, 429, 503),
)
async def show_voiceprint(parts: PartsHere, _by: Enroller, speaker: Speaker) -> Response:
    """What is known about a voiceprint, without its embedding."""
    found = await in_store(parts, lambda: parts.store.get(speaker))
    return Json(_fields(found.summary()))


@router.post(
    "/v1/voiceprints/{speaker:path}",
    summary="Enroll from recordings",
    status_code=201,
    response_model=EnrolledFields,
    responses=described(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=_UPLOAD_BODY,
)
async def enroll_speaker(
    request: Request,
    parts: PartsHere,
    by: Enroller,
    speaker: Speaker,
    replace: bool = False,
    consent_given_at: Text = None,
    consent_by: Text = None,
    consent_purpose: Text = None,
) -> Response:
    """Make a voiceprint of one or more recordings.

    The body is a form with the files, and the fields of consent if there are any; or one sound file
    as it is, the consent then in the query. `consent_by` and `consent_purpose` go together, and
    `consent_given_at` is now unless it is given. A refusal is 422 with `feedback` for each stretch.
    """
    check_speaker(speaker)
    if parts.calls.is_draining:
        return problem(503, "draining", "The server is about to end. Enroll elsewhere, or later.")
    await _check_is_free(parts, speaker, replace)
    places: Places = request.app.state.places
    rest = parts.config.rest
    with places.one_of(rest.pending_enrollments):
        async with received(request, rest) as upload:
            query = dict(
                zip(_CONSENT_FIELDS, (consent_given_at, consent_by, consent_purpose), strict=True)
            )
            consent = _consent(query | dict(upload.fields), parts.config.require_consent)
            try:
                enrolled = await places.run(
                    parts.engine, speaker, upload.recordings, rest.max_recording_s, consent
                )
            except StreamsvError as error:
                parts.metrics.enrollment(error.code)
                await _record(parts, by, speaker, error.code)
                raise
    if enrolled.voiceprint is None or enrolled.refusal is not None:
        refusal = enrolled.refusal or ConfigError("There is no voiceprint.")
        parts.metrics.enrollment(refusal.code)
        await _record(parts, by, speaker, refusal.code)
        return problem_of(refusal, feedback=list(enrolled.feedback))
    stored = await _store(parts, by, enrolled.voiceprint, replace)
    parts.metrics.enrollment("completed")
    return Json(
        {
            "voiceprint": _fields(stored.summary()),
            "cohesion": enrolled.cohesion,
            "feedback": list(enrolled.feedback),
        },
        status_code=201,
    )


@router.delete(
    "/v1/voiceprints/{speaker:path}",
    summary="Delete a voiceprint",
    status_code=204,
    response_class=Response,
    responses=described(401, 403, 404, 422, 429, 503),
)
async def delete_voiceprint(parts: PartsHere, by: Enroller, speaker: Speaker) -> Response:
    """Delete a voiceprint and erase its bytes from the files of the store.

    It is 503 if it was deleted and could not be erased yet; the message says so.
    """
    check_speaker(speaker)
    await _record(parts, by, speaker, "requested", "delete")
    try:
        await in_store(parts, lambda: parts.store.delete(speaker))
    except StreamsvError as error:
        await _record(parts, by, speaker, error.code, "delete")
        raise
    await _record(parts, by, speaker, "deleted", "delete")
    return Response(status_code=204)


async def in_store(parts: Parts, work: Callable[[], T]) -> T:
    """Do ``work`` on the store, in the one thread for it."""
    return await asyncio.get_running_loop().run_in_executor(parts.blocking, work)


async def _check_is_free(parts: Parts, speaker: str, replace: bool) -> None:
    """Say that there is a voiceprint before the recordings are sent, not after."""
    if replace:
        return
    try:
        found = await in_store(parts, lambda: parts.store.get(speaker))
    except UnknownSpeaker:
        return
    raise VoiceprintExists(
        f"There is a voiceprint of {speaker!r} already, created at {found.created_at}. Add "
        "?replace=true to replace it, or choose another id.",
        speaker,
    )


async def _store(parts: Parts, by: Asker, voiceprint: Voiceprint, replace: bool) -> Voiceprint:
    caller = Caller(by.key_id, by.peer)
    return await in_store(
        parts,
        lambda: store_voiceprint(parts.store, parts.audit, voiceprint, replace, by=caller),
    )


async def _record(
    parts: Parts, by: Asker, speaker: str, outcome: str, action: str = "enroll"
) -> None:
    await asyncio.to_thread(
        parts.audit.record,
        action,
        key_id=by.key_id,
        peer=by.peer,
        speaker=speaker,
        outcome=outcome,
    )


def _consent(given: Mapping[str, str | None], is_required: bool) -> Consent | None:
    given_at, by, purpose = (given.get(name) or None for name in _CONSENT_FIELDS)
    unknown = sorted(set(given) - set(_CONSENT_FIELDS))
    if unknown:
        raise ConfigError(
            f"{unknown[0]!r} is no field; known are {', '.join(_CONSENT_FIELDS)}.", unknown[0]
        )
    if given_at is None and by is None and purpose is None:
        if is_required:
            raise ConfigError(
                "This server enrolls nobody without consent. Send consent_by and consent_purpose."
            )
        return None
    if by is None or purpose is None:
        raise ConfigError("consent_by and consent_purpose go together. Send both.")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Consent(given_at or now.replace("+00:00", "Z"), by, purpose)


def _fields(summary: VoiceprintSummary) -> dict[str, Any]:
    return dataclasses.asdict(summary)
