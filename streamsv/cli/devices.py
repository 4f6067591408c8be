"""``streamsv devices``: what can be recorded from."""

from __future__ import annotations

import dataclasses

from streamsv.audio import list_devices
from streamsv.cli import terminal
from streamsv.cli.options import DebugOption, JsonOption


def devices(as_json: JsonOption = False, _debug: DebugOption = False) -> None:
    """List the microphones; the default one is marked."""
    found = list_devices()
    if as_json:
        for device in found:
            terminal.write_json({"type": "device", **dataclasses.asdict(device)})
        return
    if not found:
        terminal.output().say("No microphone was found. Plug one in, then try again.")
        return
    rows = [
        (
            device.name,
            str(device.index),
            str(device.channels),
            f"{device.default_sample_rate} Hz",
            "default" if device.is_default else "",
        )
        for device in found
    ]
    terminal.output().table(("microphone", "index", "channels", "rate", ""), rows)
