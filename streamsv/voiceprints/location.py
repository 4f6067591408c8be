"""Where the voiceprints of this user are kept unless a caller says otherwise."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from streamsv.errors import StoreError

FILE_NAME = "voiceprints.db"


def default_store_path() -> Path:
    r"""The file of the default store. Nothing is created.

    The directory is the first of these that applies: ``$STREAMSV_HOME``;
    ``$XDG_DATA_HOME/streamsv`` (XDG Base Directory Specification: a relative path counts as
    unset); on macOS ``~/Library/Application Support/streamsv``; on Windows
    ``%LOCALAPPDATA%\streamsv``; elsewhere ``~/.local/share/streamsv``.

    Raises
    ------
    StoreError
        If the directory depends on the home directory and the user has none.
    """
    try:
        return _directory() / FILE_NAME
    except RuntimeError as error:
        raise StoreError(
            "The home directory of this user is not known, so there is no default place for "
            "voiceprints. Set STREAMSV_HOME to the directory that should hold them."
        ) from error


def _directory() -> Path:
    if chosen := os.environ.get("STREAMSV_HOME"):
        return Path(chosen).expanduser()
    xdg_data_home = os.environ.get("XDG_DATA_HOME", "")
    if Path(xdg_data_home).is_absolute():
        return Path(xdg_data_home) / "streamsv"
    system = platform.system()
    if system == "Darwin":
        return Path.home() / "Library" / "Application Support" / "streamsv"
    if system == "Windows":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "streamsv"
    return Path.home() / ".local" / "share" / "streamsv"
