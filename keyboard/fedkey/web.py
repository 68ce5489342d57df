"""`fedkey --web`: the same keyboard in a browser of this machine, through textual-serve.

In: the arguments of the command. Out: a page on the loopback address, and behind each browser window that
opens it a keyboard in a process of its own. Next stop: `fedkey.ui.app`.

What is typed into a page could be read by whoever gives the page its parts, and any page that a browser shows
may try to talk to this machine. So our page, unlike textual-serve's own, asks nobody else for anything, not
even for a font; the browser is told to see to it; and requests that another page makes, or that come under
another host's name, are refused.

Nor is the loopback address one user's: every account of the machine may connect, and a keyboard shows all
that its owner's memory holds. So all of it lies below a path that nobody guesses, made anew each time and
told to whoever started the server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from aiohttp import web
from textual_serve.server import Server

from fedkey.errors import UserError

HOST = "127.0.0.1"
PAGE = Path(__file__).parent / "web_page"

KEY_BYTES = 16
"""Of the path below which everything lies; too many to guess."""

DOWNLOADS = "/download/"

CLOSING_SECONDS = 10
"""How long keyboards may take to close their files when the server is stopped."""


def serve(arguments: Sequence[str], port: int) -> None:
    """Serves keyboards until Ctrl+C or a polite kill.

    Args:
        arguments: those of the command, as they were typed; each keyboard is started with all of them.
        port: where on the loopback address.

    Raises:
        UserError: the port is taken.
    """
    command = [sys.executable, "-P", "-m", "fedkey", *arguments]
    if sys.platform == "win32":
        line = subprocess.list2cmdline(command)
    else:
        # Without the shell in between a keyboard's parent is the server, whose end is then its own.
        line = f"exec {shlex.join(command)}"
    try:
        _Server(line, HOST, port, title="fedkey", templates_path=PAGE).serve()
    except OSError as error:
        raise UserError(
            f"Cannot serve on port {port} ({os.strerror(error.errno or 0)}); --port N names another."
        ) from error


class _Server(Server):
    """Textual's server, less what it says and whom it lets in."""

    def __init__(self, command: str, host: str, port: int, *, title: str, templates_path: Path) -> None:
        super().__init__(command, host, port, title=title, templates_path=templates_path)
        self._path = f"/{secrets.token_urlsafe(KEY_BYTES)}/"
        self._keyboards: set[asyncio.Task[object]] = set()
        self._hosts = {f"{host}:{self.port}" for host in (HOST, "localhost")}

    def initialize_logging(self) -> None:
        """Says what went wrong, and nothing of each request."""
        logging.basicConfig(level=logging.WARNING, format="fedkey: %(message)s")

    async def on_startup(self, app: web.Application) -> None:
        """Says where, once there is somebody to answer: this is called before the port is bound."""
        self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, self.port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            break
        address = f"{self.public_url}{self._path}"
        print(f"The keyboard is at {address} for your browsers on this machine; Ctrl+C ends it.", flush=True)

    async def on_shutdown(self, app: web.Application) -> None:
        """Closes the keyboards; the server would wait a minute for browsers to do so."""
        for task in self._keyboards:
            task.cancel()
        if self._keyboards:
            await asyncio.wait(self._keyboards, timeout=CLOSING_SECONDS)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """A browser window, until it is closed."""
        task = asyncio.current_task()
        assert task is not None
        self._keyboards.add(task)
        try:
            return await super().handle_websocket(request)
        finally:
            self._keyboards.discard(task)

    async def _make_app(self) -> web.Application:
        keyboard = await super()._make_app()
        app = web.Application(middlewares=[self._refuse_strangers])
        app.on_response_prepare.append(self._keep_to_this_machine)
        app.add_subapp(self._path, keyboard)
        # Where the page's script looks for a picture that was taken; its key is told to that page alone.
        app.router.add_get(f"{DOWNLOADS}{{key}}", self.handle_download)
        return app

    @web.middleware
    async def _refuse_strangers(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if request.host not in self._hosts or (
            origin is not None and origin.removeprefix("http://") not in self._hosts
        ):
            raise web.HTTPForbidden(text="This keyboard is for pages of its own.")
        # Compared in the same time wherever the first difference is.
        begins = request.path[: len(self._path)].encode()
        if not secrets.compare_digest(begins, self._path.encode()) and not request.path.startswith(DOWNLOADS):
            raise web.HTTPForbidden(text="Open this keyboard by the whole address that fedkey told.")
        return await handler(request)

    async def _keep_to_this_machine(self, request: web.Request, response: web.StreamResponse) -> None:
        ours = " ".join(f"{scheme}://{host}" for host in sorted(self._hosts) for scheme in ("http", "ws"))
        policy = f"default-src {ours} data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'"
        response.headers["Content-Security-Policy"] = policy
        response.headers["Referrer-Policy"] = "no-referrer"
