"""The keyboard in a browser: the real server, its page, and the wire that the page's script would use."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedkey.personal import Personal

aiohttp = pytest.importorskip("aiohttp")
pytest.importorskip("textual_serve")

SECONDS = 60
"""How long anything may take on a busy machine."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it told."""
    command = [sys.executable, "-m", "fedkey", *map(str, arguments), "--web", "--port", str(free_port())]
    # In a session of its own, as if from a desktop's menu: without a terminal, which it does not need.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:\d+/\S{22}/", told)
            assert address, told
            yield process, address[0]
        finally:
            process.kill()


def children(pid: int) -> set[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return set(map(int, found))


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Window:
    """What the page's script does: asks for a keyboard, shows what comes, sends what is typed."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.painted = b""

    async def wait_for(self, text: str) -> None:
        async with asyncio.timeout(SECONDS):
            while text.encode() not in self.painted:
                message = await self.socket.receive()
                assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), (
                    text,
                    self.painted,
                )
                if message.type is aiohttp.WSMsgType.BINARY:
                    self.painted += message.data

    async def type(self, text: str) -> None:
        await self.socket.send_json(["stdin", text])


async def test_a_page_shows_a_keyboard_that_works_and_talks_to_nobody_else(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "a bundle; $HOME 'quoted'")
    memory = tmp_path / 'my "words" & more.sqlite'
    with served(bundle, "--memory", memory) as (process, address):
        async with aiohttp.ClientSession() as session:
            async with session.get(address) as response:
                page = await response.text()
                assert response.status == 200
                assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
            assert set(re.findall(r"https?://[^/\"]+/[^/\"]+/", page)) == {address}
            assert len(re.findall("https?:", page)) == page.count(address)
            for part in re.findall(r"(?:src|href)=\"(http[^\"]+)\"|url\(\"([^\"]+)\"\)", page):
                async with session.get("".join(part)) as response:
                    assert response.status == 200, part
            (wire,) = re.findall(r'data-session-websocket-url="([^"]+)"', page)
            async with session.ws_connect(f"{wire}?width=80&height=24") as connection:
                window = Window(connection)
                await window.wait_for(" space ")
                await window.wait_for(" ms")
                await window.type("zyzzy ")
                await window.wait_for("zyzzy")
                await window.type("\r")
                (keyboard,) = children(process.pid)
                # Ctrl+C, while the window is open.
                process.send_signal(signal.SIGINT)
                async with asyncio.timeout(SECONDS):
                    while not connection.closed:
                        await connection.receive()
        started = time.monotonic()
        assert process.wait(SECONDS) == 0
        assert time.monotonic() - started < 10
        assert not lives(keyboard)
    assert memory.is_file()


async def test_other_pages_and_other_names_are_refused(tiny_bundle: Path) -> None:
    with served(tiny_bundle, "--private") as (process, address):
        port = address.split(":")[2].partition("/")[0]
        async with aiohttp.ClientSession() as session:
            for headers in (
                {"Host": f"evil.example:{port}"},
                {"Origin": "http://evil.example"},
                {"Origin": f"http://127.0.0.1:{int(port) - 1}"},
                {"Origin": "null"},
            ):
                async with session.get(address, headers=headers) as response:
                    assert response.status == 403, headers
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(f"{address}ws", headers=headers)
            assert not children(process.pid)
            for host in ("127.0.0.1", "localhost"):
                headers = {"Host": f"{host}:{port}", "Origin": f"http://{host}:{port}"}
                async with session.get(address, headers=headers) as response:
                    assert response.status == 200


async def test_other_accounts_of_this_machine_would_have_to_guess_the_address(tiny_bundle: Path) -> None:
    """No header tells them from the owner: what is no browser sends none."""
    with served(tiny_bundle, "--private") as (process, address):
        root = re.match(r"http://[^/]+", address)[0]  # type: ignore[index]
        key = address.removeprefix(root)
        guesses = (
            "",
            "/",
            "/ws",
            "/static/js/textual.js",
            f"/{'A' * 22}/",
            f"/{'A' * 22}/ws",
            key[:-1],
            key[:-2],
        )
        async with aiohttp.ClientSession() as session:
            for guess in guesses:
                async with session.get(f"{root}{guess}") as response:
                    assert response.status == 403, guess
                    assert key not in await response.text()
            for guess in ("/ws", f"/{'A' * 22}/ws"):
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(f"{root}{guess}?width=80&height=24")
            async with session.get(f"{root}/download/nothing") as response:
                assert response.status == 404
        assert not children(process.pid)
        command = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert key.strip("/") not in command  # which everybody may read
    with served(tiny_bundle, "--private") as (_, other):
        assert not other.endswith(key)


async def test_a_keyboard_whose_server_was_killed_ends(tiny_bundle: Path) -> None:
    with served(tiny_bundle, "--private") as (process, address):
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{address}ws?width=80&height=24") as connection,
        ):
            await Window(connection).wait_for(" space ")
            (keyboard,) = children(process.pid)
            process.kill()
            process.wait()
        deadline = time.monotonic() + SECONDS
        while lives(keyboard):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


def test_what_cannot_be_served_is_one_sentence(tiny_bundle: Path, tmp_path: Path) -> None:
    def told(*arguments: object) -> str:
        command = [sys.executable, "-m", "fedkey", *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=SECONDS
        )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "nothing" in told(tmp_path / "nothing", "--web")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert told(tiny_bundle, "--web", "--port", port) == (
            f"fedkey: Cannot serve on port {port} (Address already in use); --port N names another.\n"
        )


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_is_a_number(port: str) -> None:
    command = [sys.executable, "-m", "fedkey", "--web", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_it_says_what_to_install(tiny_bundle: Path) -> None:
    code = "import sys; sys.modules['textual_serve'] = None; from fedkey.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, str(tiny_bundle), "--web"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "install fedkey with its web extra" in done.stderr


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "headless_shell"))), None
)


class Browser:
    """A headless Chromium, spoken to by its DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Does it and returns what came of it; events are passed over."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json(timeout=SECONDS)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]  # type: ignore[no-any-return]

    async def type(self, text: str) -> None:
        """Presses one key after the other, as a hand does."""
        for character in text:
            name = {"\r": "Enter"}.get(character, character)
            await self.call("Input.dispatchKeyEvent", type="keyDown", text=character, key=name)
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=name)

    async def until(self, expression: str) -> None:
        """Waits until something is true on the page."""
        deadline = time.monotonic() + SECONDS
        while not (await self.call("Runtime.evaluate", expression=expression))["result"].get("value"):
            assert time.monotonic() < deadline, expression
            await asyncio.sleep(0.1)


@asynccontextmanager
async def browsing(address: str, profile: Path) -> AsyncIterator[Browser]:
    """A browser with a page open."""
    assert CHROMIUM is not None
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}")
    command = [CHROMIUM, *quiet, "--remote-debugging-port=0", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = (re.search(r"ws://(127\.0\.0\.1:\d+)/", line) for line in process.stderr)
            port = next(match[1] for match in found if match is not None)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://{port}/json") as pages:
                    (page, *_) = await pages.json()
                async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    browser = Browser(socket)
                    await browser.call("Page.navigate", url=address)
                    yield browser
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
async def test_what_is_typed_in_a_browser_is_remembered_here(tiny_bundle: Path, tmp_path: Path) -> None:
    memory = tmp_path / "words.sqlite"
    with served(tiny_bundle, "--memory", str(memory)) as (_, address):
        async with browsing(address, tmp_path / "profile") as browser:
            await browser.until("document.body.classList.contains('-first-byte')")
            await browser.until("document.activeElement.className == 'xterm-helper-textarea'")
            await browser.type("zorblax or zorblax\r")
            deadline = time.monotonic() + SECONDS
            while not is_known(memory, "zorblax"):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)


def is_known(memory: Path, word: str) -> bool:
    if not memory.exists():
        return False
    personal = Personal.open(memory)
    try:
        return personal.spelling(word) is not None
    finally:
        personal.close()
