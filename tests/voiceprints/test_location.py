import platform
from pathlib import Path

import pytest

from streamsv.errors import StoreError
from streamsv.voiceprints import default_store_path

VARIABLES = ("STREAMSV_HOME", "XDG_DATA_HOME", "LOCALAPPDATA")
HOME = Path("/home/alice")


@pytest.mark.parametrize(
    ("system", "environment", "directory"),
    [
        ("Linux", {}, HOME / ".local/share/streamsv"),
        ("FreeBSD", {}, HOME / ".local/share/streamsv"),
        ("Darwin", {}, HOME / "Library/Application Support/streamsv"),
        ("Windows", {}, HOME / "AppData/Local/streamsv"),
        ("Windows", {"LOCALAPPDATA": "/local"}, Path("/local/streamsv")),
        ("Linux", {"XDG_DATA_HOME": "/data"}, Path("/data/streamsv")),
        ("Linux", {"XDG_DATA_HOME": "relative"}, HOME / ".local/share/streamsv"),
        ("Linux", {"STREAMSV_HOME": "/here", "XDG_DATA_HOME": "/data"}, Path("/here")),
        ("Darwin", {"STREAMSV_HOME": "~/here"}, HOME / "here"),
        ("Linux", {"STREAMSV_HOME": "", "XDG_DATA_HOME": ""}, HOME / ".local/share/streamsv"),
    ],
)
def test_default_store_lies_where_the_system_keeps_user_data(
    monkeypatch: pytest.MonkeyPatch, system: str, environment: dict[str, str], directory: Path
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": str(HOME), "USERPROFILE": str(HOME)} | environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(platform, "system", lambda: system)

    assert default_store_path() == directory / "voiceprints.db"


def test_user_without_a_home_is_told_to_choose_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STREAMSV_HOME", "~nobody-by-that-name/voiceprints")

    with pytest.raises(StoreError, match="Set STREAMSV_HOME"):
        default_store_path()
