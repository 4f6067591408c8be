"""Puts the REST interface into the application."""

from __future__ import annotations

from fastapi import FastAPI

from streamsv.server.rest import problems, service, sessions, voiceprints
from streamsv.server.rest.enrollment import Places
from streamsv.server.rest.service import Probe


def install(app: FastAPI) -> None:
    """Add every route, and answer every error of ``app`` in one shape."""
    app.state.places = Places()
    app.state.probe = Probe()
    problems.install(app)
    for router in (voiceprints.router, sessions.router, service.router):
        app.include_router(router)
