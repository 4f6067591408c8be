"""The page's files, as a browser asks for them."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from streamsv.errors import ConfigError
from streamsv.server import webpage

ROOT = Path(__file__).resolve().parents[2]


def get(live, path, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{live.port}{path}", headers=headers)
    return urllib.request.urlopen(request, timeout=10)


def test_every_file_of_the_page_is_served_with_its_type_and_a_strict_policy(serve) -> None:
    live = serve()
    for name, kind in webpage.FILES.items():
        with get(live, "/" if name == "index.html" else f"/page/{name}") as answer:
            assert answer.read() == (ROOT / "demo" / "browser" / name).read_bytes()
            assert answer.headers["Content-Type"] == kind
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("known", ['"other", {}', "W/{}", "*"])
def test_a_file_that_has_not_changed_is_not_sent_again(serve, known: str) -> None:
    live = serve()
    with get(live, "/page/style.css") as answer:
        tag = answer.headers["ETag"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(live, "/page/style.css", **{"If-None-Match": known.format(tag)})
    assert caught.value.code == 304


@pytest.mark.parametrize(
    "path", ["/page/", "/page/index.html", "/page/../pyproject.toml", "/page/%2e%2e/README.md"]
)
def test_nothing_else_is_served(serve, path) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(serve(), path)
    assert caught.value.code == 404


def test_every_file_in_the_folder_is_one_of_the_page() -> None:
    found = {path.name for path in (ROOT / "demo" / "browser").iterdir()}
    assert found == set(webpage.FILES)


def test_an_installation_without_the_page_says_so(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(webpage, "_HERE", tmp_path / "streamsv" / "server")
    with pytest.raises(ConfigError, match="Install streamsv again"):
        webpage.routes()
