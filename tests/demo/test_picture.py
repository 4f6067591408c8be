"""The README's picture shows what the demo itself would show."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "demo" / "picture.py"


@pytest.fixture(scope="module")
def picture():
    spec = importlib.util.spec_from_file_location("picture", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_has_the_titles_and_figures_of_the_demo(picture, tmp_path, capsys):
    file = tmp_path / "images" / "demo.svg"
    picture.main(file)
    svg = file.read_text()
    shown = html.unescape(re.sub(r"<[^>]+>", "", svg)).replace("\N{NO-BREAK SPACE}", " ")
    assert "3/4 A call by somebody else" in shown
    assert "4/4 A call in which the voice changes" in shown
    said = capsys.readouterr().out
    speech = re.search(r"after ([\d.]+ s of speech)", said)[1]
    assert f"after {speech}" in shown
    at_end = float(re.search(r"([+-][\d.]+) at the end", said)[1])
    llrs = [float(number) for number in re.findall(r"LLR +([+-][\d.]+)", shown)]
    assert any(abs(llr - at_end) <= 0.0501 for llr in llrs)
    assert "<text " in svg
    assert svg.count("<text ") == svg.count('<text xml:space="preserve" ')
    assert not re.search(r">[▁▂▃▄▅▆▇█▀▔]+</text>", svg)


def test_block_characters_become_rectangles_without_seams(picture):
    text = re.match(r"(.)(.)(..)(.+)", "r020██▄")
    first, second = re.findall(
        r'x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', picture.as_shapes(text)
    )
    assert float(first[0]) + float(first[2]) == float(second[0])
    assert float(first[1]) + float(first[3]) == float(second[1]) + float(second[3])
    assert float(first[3]) == picture.LINE_HEIGHT
