"""``streamsv serve`` says in a sentence why it does not start, and where it listens."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_port_that_is_taken_is_a_sentence(call, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = call("serve", "--port", port, "--store", tmp_path / "store.db")
    assert found.code == 4
    said = f"Error: The server cannot listen on 127.0.0.1, port {port}: Address already in use. "
    assert found.err.startswith(said)
    assert "Serving" not in found.err


def test_a_host_that_is_none_is_a_sentence(call, tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(f"host: no.such.host.invalid\nkeys: {tmp_path / 'keys.db'}\n", "utf-8")
    store = tmp_path / "store.db"
    assert call("keys", "create", "--scope", "verify", "--keys", tmp_path / "keys.db").code == 0
    found = call("serve", "--config", config, "--store", store)
    assert found.code == 4
    assert "cannot listen on no.such.host.invalid, port 8080" in found.err


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_that_cannot_be_used_is_a_sentence(
    call, tmp_path: Path, content: str | None
) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    if content is not None:
        chain.write_text(content, "utf-8")
        key.write_text(content, "utf-8")
    arguments = ("--port", 0, "--store", tmp_path / "store.db")
    found = call("serve", *arguments, "--tls-certificate", chain, "--tls-key", key)
    assert found.code == 4
    assert found.err.startswith(f"Error: tls: {chain} ")


def test_without_a_key_others_are_refused_with_the_command_that_makes_one_where_it_is_looked_for(
    call, tmp_path: Path
) -> None:
    arguments = ("serve", "--host", "0.0.0.0", "--store", tmp_path / "store.db")
    found = call(*arguments)
    assert found.code == 4
    advice = re.search(r"`streamsv (keys create --keys \S+)`", found.err.replace("\n", " "))
    assert advice is not None
    assert call(*advice.group(1).split(), "--scope", "verify").code == 0
    again = call(*arguments, "--port", 65_536)
    assert "there is no API key" not in again.err


def test_any_port_is_told_and_answers_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamsv", "serve", "--port", "0", "--store", "store.db"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        told = re.fullmatch(r"Serving at http://127.0.0.1:(\d+)\n", server.stderr.readline())
        assert told is not None
        with socket.create_connection(("127.0.0.1", int(told.group(1))), timeout=20) as asking:
            asking.settimeout(20)
            asking.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert asking.recv(100).startswith(b"HTTP/1.1 200 ")
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) in (0, -signal.SIGTERM)
