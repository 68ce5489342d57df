"""The connection to a SuperLink that misbehaves; with a real one see `test_keyboard_phone.py`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.proto.fleet_pb2 import ActivateNodeResponse

from fedkey_server.client_app import app
from fedkey_server.grid import InProcessGrid
from fedkey_server.supernode import SuperNode, Unreachable


class Server(ThreadingHTTPServer):
    """Lets every node in, refuses what is on a list, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refused: dict[str, int] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        self.send_response(self.server.refused.get(name, 200))
        self.end_headers()
        if name == "activate-node":
            self.wfile.write(ActivateNodeResponse(node_id=7).SerializeToString())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def reply() -> Message:
    InProcessGrid(app, 1, {})  # answers Flower's question who sends messages
    asked = Message(RecordDict(), 1, MessageType.TRAIN, group_id="3")
    return Message(RecordDict({"said": ConfigRecord({"word": "x" * 1000})}), reply_to=asked)


def test_a_node_reports_and_takes_leave(server: Server) -> None:
    with SuperNode(server.address, is_insecure=True) as node:
        assert node.node_id == 7
        assert node.receive() is None
    assert server.asked == [
        "register-node", "activate-node", "pull-messages", "deactivate-node", "unregister-node"
    ]  # fmt: skip


def test_a_reply_to_a_run_that_is_over_is_dropped(server: Server) -> None:
    server.refused["push-messages"] = 403
    sizes: list[int] = []
    with SuperNode(server.address, is_insecure=True) as node:
        node.send(reply(), 1.0, sizes.append)
    assert sizes[0] > 1000
    assert "push-object" not in server.asked


def test_what_cannot_be_listed_is_not_sent(server: Server) -> None:
    def refuse(size: int) -> None:
        raise OSError("the disk is full")

    with SuperNode(server.address, is_insecure=True) as node, pytest.raises(OSError, match="full"):
        node.send(reply(), 1.0, refuse)
    assert "push-messages" not in server.asked


@pytest.mark.parametrize("name", ["register-node", "activate-node"])
def test_a_server_that_does_not_want_the_node_is_unreachable(server: Server, name: str) -> None:
    server.refused[name] = 401
    with pytest.raises(Unreachable, match="401"), SuperNode(server.address, is_insecure=True):
        pass
