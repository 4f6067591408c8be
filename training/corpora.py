"""Public corpora as they are published: a folder in, a list of clips or sounds out.

Each function takes the folder that the corpus was unpacked into, knows its layout, and raises
ConfigError, with what it looked for, when that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from streamsv.errors import ConfigError
from training.manifest import Clip, Sound

T = TypeVar("T")

SUFFIXES = (".wav", ".flac", ".ogg", ".opus")
"""What libsndfile reads. VoxCeleb2 comes as .m4a and is converted first."""


def _folder(root: Path, name: str) -> Path:
    if not root.is_dir():
        raise ConfigError(
            f"There is no folder {root} for {name}. Set its path in data.corpora.", str(root)
        )
    return root


def _files(root: Path, name: str, pattern: str, layout: str) -> list[Path]:
    found = sorted(path for path in root.glob(pattern) if path.suffix.lower() in SUFFIXES)
    if not found:
        unread = next((path for path in root.glob(pattern) if path.suffix == ".m4a"), None)
        hint = "" if unread is None else f" There is {unread}: convert .m4a to .wav first."
        raise ConfigError(
            f"{root} does not look like {name}: no file {layout} with a suffix of "
            f"{', '.join(SUFFIXES)}.{hint}",
            str(root),
        )
    return found


def _below(root: Path, names: tuple[str, ...]) -> Path:
    """The first of the folders that exists below ``root``, else ``root`` itself."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    return root


def voxceleb(root: Path, name: str) -> list[Clip]:
    """VoxCeleb1 or 2: ``id00012/21Uxsk56VDQ/00001.wav``, below ``dev/aac``, ``wav`` and the like.

    ``root`` is the folder of one part (``dev``, not ``test`` beside it), so that what is tested on
    is not trained on. A video is a session.
    """
    base = _below(_folder(root, name), ("dev/aac", "dev/wav", "aac", "wav"))
    return [
        Clip(path, name, path.parent.parent.name, path.parent.name, 16_000)
        for path in _files(base, name, "id*/*/*", "id*/VIDEO/NUMBER")
    ]


def voices(root: Path) -> list[Clip]:
    """VOiCES (Richey et al. 2018): ``distant-16k/speech/train/rm1/none/sp0032/....wav``.

    The second field of a name, ``...-rm1-none-sp0032-...``, tells room and distractor; the room is
    the session.
    """
    base = _folder(root, "VOiCES")
    clips = []
    for path in _files(base, "VOiCES", "distant-16k/speech/train/**/*", "below distant-16k/speech"):
        fields = path.stem.split("-")
        speaker = next((field for field in fields if field.startswith("sp")), None)
        room = next((field for field in fields if field.startswith("rm")), "")
        if speaker is None:
            raise ConfigError(f"{path} has no speaker (sp0000) in its name.", str(path))
        clips.append(Clip(path, "voices", speaker, room, 16_000))
    return clips


def musan(root: Path) -> list[Sound]:
    """MUSAN (Snyder et al. 2015): ``noise``, ``music`` and ``speech``, each by source."""
    base = _folder(root, "MUSAN")
    sounds = []
    for kind in ("noise", "music", "speech"):
        for path in _files(base, "MUSAN", f"{kind}/*/*", f"{kind}/SOURCE/FILE"):
            sounds.append(Sound(path, kind))
    return sounds


def rirs_noises(root: Path) -> list[Sound]:
    """RIRS_NOISES (Ko et al. 2017): simulated and real rooms, point-source noises."""
    base = _below(_folder(root, "RIRS_NOISES"), ("RIRS_NOISES",))
    rooms = _files(
        base, "RIRS_NOISES", "simulated_rirs/*/*/*", "simulated_rirs/ROOM_SIZE/ROOM/FILE"
    )
    real = base / "real_rirs_isotropic_noises"
    rooms += sorted(path for path in real.glob("*.wav") if "noise" not in path.stem)
    noises = sorted((base / "pointsource_noises").glob("*.wav"))
    return [Sound(path, "room") for path in rooms] + [Sound(path, "noise") for path in noises]


SPEECH: Mapping[str, Callable[[Path], list[Clip]]] = {
    "voxceleb1": lambda root: voxceleb(root, "voxceleb1"),
    "voxceleb2": lambda root: voxceleb(root, "voxceleb2"),
    "voices": voices,
}
SOUNDS: Mapping[str, Callable[[Path], list[Sound]]] = {"musan": musan, "rirs_noises": rirs_noises}


def speech_of(corpora: Mapping[str, str]) -> list[Clip]:
    """All clips of the corpora named, in the order given."""
    return [
        clip
        for name, root in corpora.items()
        for clip in _known(SPEECH, "data.corpora", name)(Path(root))
    ]


def sounds_of(corpora: Mapping[str, str]) -> list[Sound]:
    """All noises and rooms of the corpora named, in the order given."""
    return [
        sound
        for name, root in corpora.items()
        for sound in _known(SOUNDS, "data.sound_corpora", name)(Path(root))
    ]


def _known(
    readers: Mapping[str, Callable[[Path], list[T]]], key: str, name: str
) -> Callable[[Path], list[T]]:
    if name not in readers:
        raise ConfigError(f"{key} has {name!r}; known are {', '.join(readers)}.", name)
    return readers[name]
