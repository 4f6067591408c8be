"""A real Chromium, driven over the DevTools protocol, and a real server for its page."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection, connect

from streamsv.server.call import Call
from streamsv.server.config import AdmissionConfig, ServeConfig
from streamsv.server.keys import KeyStore
from streamsv.server.serving import server_of
from streamsv.server.wire import Wire

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MICROPHONE_RATE = 48_000


class Browser:
    """One page in a headless Chromium whose microphone plays ``sound``, over and over.

    ``errors`` is what the page reported as failed: exceptions, refused files, broken rules of
    its content security policy.
    """

    def __init__(self, program: str, folder: Path, sound: Path, allows_microphone: bool) -> None:
        self._sequence = itertools.count(1)
        self._open = contextlib.ExitStack()
        self.errors: list[str] = []
        media = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={sound}"]
        grants = (
            "--use-fake-ui-for-media-stream" if allows_microphone else "--deny-permission-prompts"
        )
        self._process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-quic",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder}",
                *media,
                grants,
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._socket = self._attached()

    def _attached(self) -> ClientConnection:
        for line in self._process.stderr:
            if found := re.search(r"ws://(127\.0\.0\.1:\d+)/", line):
                threading.Thread(target=self._process.stderr.read, daemon=True).start()
                with connect(line.split()[-1], max_size=None, compression=None) as root:
                    self._socket = root
                    (target, *_) = (
                        each
                        for each in self.command("Target.getTargets")["targetInfos"]
                        if each["type"] == "page"
                    )
                url = f"ws://{found.group(1)}/devtools/page/{target['targetId']}"
                self._socket = self._open.enter_context(
                    connect(url, max_size=None, compression=None)
                )
                for domain in ("Page", "Runtime", "Log"):
                    self.command(f"{domain}.enable")
                return self._socket
        raise AssertionError("Chromium did not start")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its result."""
        number = next(self._sequence)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(message["params"]["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded":
            entry = message["params"]["entry"]
            if entry["level"] == "error":
                self.errors.append(f"{entry['text']} {entry.get('url', '')}")

    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Show the page ``width`` by ``height`` CSS pixels large, ``light`` or ``dark``."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        self.command("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && document.querySelector('#where')")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, in the page, as if a person had clicked."""
        result = self.command(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script: str, within_s: float = 30.0) -> None:
        """Wait until ``script`` is true."""
        deadline = time.monotonic() + within_s
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < deadline, f"{script}\n{self.text('body')}\n{self.errors}"
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        return self.run(f"document.querySelector({selector!r}).innerText")

    def click(self, selector: str) -> None:
        """Bring an element into view and press the mouse on its middle."""
        script = (
            f"(() => {{ const e = document.querySelector({selector!r});"
            "e.scrollIntoView({ block: 'center' }); const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        x, y = self.run(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.command(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    def press(self, key: str) -> None:
        """Press one key: Tab, Enter or a space."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        code = {"Tab": 9, "Enter": 13, " ": 32}[key]
        for kind in ("keyDown", "keyUp"):
            self.command(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def type(self, text: str) -> None:
        self.command("Input.insertText", text=text)

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, name: str) -> None:
        """Keep a picture of the whole page in ``$STREAMSV_SCREENSHOTS``, if that is set."""
        folder = os.environ.get("STREAMSV_SCREENSHOTS")
        taken = self.command("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(taken))

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._open.close()
        self._process.terminate()
        self._process.wait(timeout=20)


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    """Starts Chromium with a microphone in which ``pcm`` (float32, 16 kHz) is heard."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with contextlib.ExitStack() as stack:

        def start(pcm: NDArray[np.float32], allows_microphone: bool = True) -> Browser:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="streamsv-chromium-", ignore_cleanup_errors=True)
            )
            sound = Path(folder) / "microphone.wav"
            resampled = np.clip(soxr.resample(pcm, 16_000, MICROPHONE_RATE), -1, 1)
            soundfile.write(sound, resampled, MICROPHONE_RATE, subtype="PCM_16")
            browser = Browser(program, Path(folder) / "profile", sound, allows_microphone)
            stack.callback(browser.close)
            return browser

        yield start


class Served:
    """A server in a thread of this process."""

    def __init__(self, config: ServeConfig) -> None:
        self.keys = Path(str(config.keys))
        self.server = server_of(config)
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self.server.started:
            assert self._thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"

    def add_key(self, *scopes: str) -> str:
        with contextlib.closing(KeyStore(self.keys)) as keys:
            return keys.create(scopes, "page").key

    @property
    def calls(self) -> list[Call]:
        """All calls in the order in which they began."""
        return list(self.server._app.state.parts.calls)

    def cut(self) -> None:
        """Break every WebSocket in the middle of whatever it carries."""
        for connection in list(self.server.server_state.connections):
            if isinstance(connection, Wire):
                connection.loop.call_soon_threadsafe(connection.transport.abort)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)


class Installed:
    """The server of an installed copy, run by its command. It is asked from outside only."""

    def __init__(self, program: str, folder: Path) -> None:
        self._log = folder / "serve.log"
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [program, "serve", "--port", "0"],
                cwd=folder,
                env={**os.environ, "STREAMSV_HOME": str(folder / "home")},
                stderr=log,
            )
        self.url = f"{self._address()}/"

    def _address(self) -> str:
        deadline = time.monotonic() + 60
        while not (told := re.search(r"^Serving at (\S+)\n", self._said, re.MULTILINE)):
            assert self._process.poll() is None, self._said
            assert time.monotonic() < deadline, self._said
            time.sleep(0.05)
        return told[1]

    @property
    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def stop(self) -> None:
        """End it by SIGTERM, which is to let it finish its work."""
        self._process.terminate()
        # When all is done uvicorn raises the signal again, so the status may be the signal's.
        assert self._process.wait(90) in (0, -signal.SIGTERM), self._said
        assert "Draining" in self._said
        assert "Traceback" not in self._said


class Network:
    """A TCP proxy before a server, that can keep the server's words from arriving."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: set[socket.socket] = set()
        self._near: set[socket.socket] = set()
        self._deaf: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def deafen(self) -> None:
        """From now on nothing that the server says arrives on the connections that there are."""
        self._deaf |= self._near

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._near.add(near)
                self._open |= {near, far}
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if sink not in self._deaf:
                    sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def network() -> Iterator[Callable[[Served], Network]]:
    """A network before a server."""
    with contextlib.ExitStack() as stack:

        def before(served: Served) -> Network:
            port = served.server.servers[0].sockets[0].getsockname()[1]
            return stack.enter_context(contextlib.closing(Network(port)))

        yield before


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served | Installed]:
    """A server with an empty store: that of the program ``$STREAMSV_INSTALLED``, if that is set."""
    if program := os.environ.get("STREAMSV_INSTALLED"):
        installed = Installed(program, tmp_path)
        yield installed
        installed.stop()
        return
    store, keys = tmp_path / "voiceprints.db", tmp_path / "keys.db"
    room_for_all = AdmissionConfig(max_utilization=100.0, max_delay_ms=1e6)
    server = Served(ServeConfig(port=0, store=str(store), keys=str(keys), admission=room_for_all))
    yield server
    server.stop()
