"""Everything that the documents show is tried.

In README.md, CONTRIBUTING.md, SECURITY.md, docs/ and training/README.md

- every ``python`` block runs, one after another with the names of those before it;
- of every ``console`` or ``bash`` block, each line that begins with ``streamsv`` (in ``console``
  after a ``$``) runs in a shell; it must find its options, and end as the command line promises;
- a block after ``<!-- file: NAME -->`` is written to that file first;
- a ``python`` block after ``<!-- server: URL -->`` meets a real server, with a store of its own,
  at that address;
- the commands of a block after ``<!-- ends with: 0 1 -->`` end with these exit codes, one each;
- a block after ``<!-- not run: WHY -->`` is not run, but its options must exist all the same.

It all happens in a directory with a store of its own and some recordings, which are the bundled
clips: where a clone has them, and under the names that the documents use.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile

from streamsv.server.config import ServeConfig
from streamsv.server.serving import DrainingServer, server_of

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    ROOT / "training" / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]

RECORDINGS = {
    "alice.wav": "voice_a_enroll",
    "alice-monday.wav": "voice_a_enroll",
    "alice-friday.wav": "voice_a_call",
    "call.wav": "voice_a_call",
    "bob.wav": "voice_b_call",
    "stranger.wav": "voice_c_call",
}
"""The names of recordings in the documents, and the bundled clips that stand for them; some of
them also make up the evaluation set ``my-set``."""

STREAMS = """
stream	path	speaker	session	sample_rate	seconds	sex	channel
monday	alice-monday.wav	alice	1	16000	26.8		wideband
friday	alice-friday.wav	alice	2	16000	26.0		wideband
bob	bob.wav	bob	1	16000	24.1		wideband
stranger	stranger.wav	stranger	1	16000	17.8		wideband
"""
TRIALS = """
enroll	test	target
monday	friday	1
monday	bob	0
monday	stranger	0
"""

VERDICTS = {0, 1, 3}
"""How ``verify`` and ``identify`` may end; every other command that is shown ends with 0."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its ``language``, its ``text`` from ``line`` on, and the comment before."""

    document: Path
    line: int
    language: str
    text: str
    comment: str

    @property
    def where(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return not self.comment.startswith("not run:")

    @property
    def server(self) -> str | None:
        return self.comment.removeprefix("server:").strip() if "server:" in self.comment else None

    @property
    def file(self) -> str | None:
        return self.comment.removeprefix("file:").strip() if "file:" in self.comment else None

    def codes(self) -> list[set[int] | None]:
        """With which exit codes its ``streamsv`` lines may end; None for what is usual."""
        if "ends with:" not in self.comment:
            return [None] * sum(line.startswith("streamsv ") for line in self.commands())
        return [{int(code)} for code in self.comment.removeprefix("ends with:").split()]

    def commands(self) -> list[str]:
        """The lines that a reader would type, with their continuations joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


_FENCE = re.compile(
    r"(?:^<!-- (?P<comment>[^\n]*?) -->\n\s*)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks_of(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [
        Block(
            document,
            text.count("\n", 0, match.start("text")) + 1,
            match["language"],
            match["text"],
            match["comment"] or "",
        )
        for match in _FENCE.finditer(text)
    ]


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for name, clip in RECORDINGS.items():
        pcm, rate = soundfile.read(ROOT / "streamsv" / "clips" / f"{clip}.opus")
        soundfile.write(folder / name, pcm, rate)
    my_set = folder / "my-set"
    my_set.mkdir()
    (my_set / "streams.tsv").write_text(STREAMS.lstrip())
    (my_set / "trials.tsv").write_text(TRIALS.lstrip())
    for name in ("alice-monday.wav", "alice-friday.wav", "bob.wav", "stranger.wav"):
        shutil.copy(folder / name, my_set)
    return folder


@pytest.fixture
def desk(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the recordings, a store of its own and ``streamsv`` on the path."""
    folder = tmp_path / "desk"
    shutil.copytree(recordings, folder)
    shutil.copytree(ROOT / "streamsv" / "clips", folder / "streamsv" / "clips")
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "streamsv"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m streamsv.cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("STREAMSV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Starts a server when it is first asked for, and gives its address."""
    running: list[tuple[DrainingServer, threading.Thread]] = []

    def start() -> str:
        if not running:
            store, keys = str(tmp_path / "served.db"), str(tmp_path / "served-keys.db")
            server = server_of(ServeConfig(port=0, store=store, keys=keys))
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.01)
            running.append((server, thread))
        port = running[0][0].servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(20)


def run_python(block: Block, names: dict[str, object], serving: Callable[[], str]) -> None:
    """Run a block so that a traceback names the document and its line."""
    text = block.text if block.server is None else block.text.replace(block.server, serving())
    source = "\n" * (block.line - 1) + text
    exec(compile(source, str(block.document), "exec"), names)


def streamsv_commands(block: Block) -> Iterator[list[str]]:
    """The words of each ``streamsv`` command in a block, without pipes and redirections."""
    for line in block.commands():
        for part in re.split(r"&&|\|\||;|\|", line):
            words = shlex.split(part, comments=True)
            if words and words[0] == "streamsv":
                stop = next((n for n, word in enumerate(words) if word[0] in "<>"), len(words))
                yield words[1:stop]


def run_line(line: str, where: str, codes: set[int] | None) -> None:
    """Run one line in a shell; unless told how it ends, only ``verify`` and ``identify`` may end
    with a verdict.
    """
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    is_verdict = re.search(r"streamsv (verify|identify)\b", line) is not None
    allowed = codes or (VERDICTS if is_verdict else {0})
    assert ended.returncode in allowed, f"{where}: {line}\n{ended.stdout}{ended.stderr}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_a_document_shows_runs(document: Path, desk: Path, serving: Callable[[], str]) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(document):
        if block.file is not None:
            (desk / block.file).write_text(block.text, encoding="utf-8")
        elif not block.is_run:
            assert block.comment.removeprefix("not run:").strip(), f"{block.where}: why not?"
        elif block.language == "python":
            run_python(block, names, serving)
        elif block.language in ("console", "bash"):
            lines = [line for line in block.commands() if line.startswith("streamsv ")]
            for line, codes in zip(lines, block.codes(), strict=True):
                run_line(line, block.where, codes)


def help_of(words: list[str], cache: dict[str, str]) -> tuple[str, str]:
    """The help page of the command that ``words`` name, and the command."""
    groups = ("voiceprints", "model", "keys")
    command = words[:2] if words and words[0] in groups else words[:1]
    command = [word for word in command if not word.startswith("-")]
    key = " ".join(command)
    if key not in cache:
        ended = subprocess.run(
            ["streamsv", *command, "--help"], check=False, capture_output=True, text=True
        )
        assert ended.returncode == 0, f"streamsv {key} is no command:\n{ended.stderr}"
        cache[key] = ended.stdout
    return cache[key], key


@pytest.mark.usefixtures("desk")
def test_every_option_that_is_shown_exists() -> None:
    cache: dict[str, str] = {}
    seen = 0
    for document in DOCUMENTS:
        for block in blocks_of(document):
            if block.language not in ("console", "bash"):
                continue
            for words in streamsv_commands(block):
                page, command = help_of(words, cache)
                for word in words:
                    option = word.partition("=")[0]
                    if option.startswith("--") and option != "--":
                        pattern = rf"(?<![\w-]){re.escape(option)}(?![\w-])"
                        assert re.search(pattern, page), (
                            f"{block.where}: streamsv {command} has no {option}"
                        )
                seen += 1
    assert seen > 10


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_option_in_the_running_text_is_one_of_some_command(document: Path) -> None:
    """``--at`` in a sentence is looked for in the source of the commands and stages."""
    sources = [*ROOT.glob("streamsv/cli/*.py"), ROOT / "training" / "__main__.py"]
    known = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    prose = _FENCE.sub("", document.read_text(encoding="utf-8"))
    for option in set(re.findall(r"`(?:[^`\n]* )?(--[a-z][a-z-]*)", prose)):
        assert f'"{option}"' in known or option in ("--help",), option


_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def anchor(heading: str) -> str:
    """The anchor that the usual renderers give a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_inside_the_project_leads_somewhere(document: Path) -> None:
    prose = _FENCE.sub("", document.read_text(encoding="utf-8"))
    for match in _LINK.finditer(prose):
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), f"{name_of(document)} links to {target}"
        if fragment:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in map(anchor, headings), f"{name_of(document)} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_document_spells_as_the_code_does(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    british = r"\b\w*(enrol(?!l)|enrolment|normalis|recognis|licence|behaviour|colour)\w*"
    assert re.findall(british, text, re.IGNORECASE) == []
