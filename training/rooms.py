"""Rooms that never were: impulse responses by the image source method.

Uses ``pyroomacoustics`` (Scheibler et al. 2018), which only those need who ask for such rooms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamsv.errors import ConfigError

RATE = 16_000
Floats = NDArray[np.float32]


def simulate_rooms(count: int, seed: int) -> list[Floats]:
    """``count`` impulse responses (samples,), 16 kHz, of boxes with a talker and a microphone.

    Rooms of 2.5 to 10 m by 2.5 to 8 m by 2.4 to 4 m, reverberation times of 0.15 to 0.8 s, talker
    and microphone anywhere at least 0.3 m from the walls. Raises ConfigError without the package.
    """
    try:
        import pyroomacoustics
    except ImportError as error:
        raise ConfigError(
            "augment.simulated_rooms needs the package pyroomacoustics: install it, or set it to "
            "0 and use recorded rooms.",
            "pyroomacoustics",
        ) from error
    generator = np.random.default_rng([seed, count])
    responses: list[Floats] = []
    while len(responses) < count:
        size = generator.uniform([2.5, 2.5, 2.4], [10.0, 8.0, 4.0])
        seconds = generator.uniform(0.15, 0.8)
        try:
            absorption, order = pyroomacoustics.inverse_sabine(seconds, size)
        except ValueError:  # a room too large to ring so shortly
            continue
        room = pyroomacoustics.ShoeBox(
            size,
            fs=RATE,
            materials=pyroomacoustics.Material(absorption),
            max_order=min(order, 17),
        )
        room.add_source(generator.uniform(0.3, size - 0.3))
        room.add_microphone(generator.uniform(0.3, size - 0.3))
        room.compute_rir()
        responses.append(np.asarray(room.rir[0][0], np.float32))
    return responses
