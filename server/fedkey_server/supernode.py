"""A SuperNode that lives in one process, writes nothing to disk and runs nobody's code but its own.

In: the address of a SuperLink. Out: the messages of a federation, and its phone's replies. Next stop:
`fedkey_server.keyboard_phone`.

Flower's own SuperNode fetches the app from the server and starts it in a process for every message: whoever
runs the server decides what is done with the text on the phone. This one speaks the same protocol
(flwr 1.41's Fleet API: protobuf over HTTP), but leaves the server's app where it is and hands messages to the
app that is installed here. What a server can ask is therefore what `fedkey_server.client_app` answers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from flwr.app import Message
from flwr.app.message.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    RegisterNodeFleetRequest,
    UnregisterNodeFleetRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectUnavailableError,
    pull_and_inflate_object_from_tree,
)
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import generate_key_pairs, public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

HEARTBEAT_SECONDS = 0.6 * HEARTBEAT_DEFAULT_INTERVAL


class Unreachable(Exception):
    """The SuperLink does not answer, or not as one does; the words say how."""


class Stopped(Unreachable):
    """The run that a message belongs to is over; the SuperLink is well."""


class SuperNode:
    """The connection to a SuperLink, under a key that is drawn anew each time.

    Args:
        address: HOST:PORT.
        root_certificates: file of the certificates to trust; None trusts the system's.
        is_insecure: whether to do without TLS.
    """

    def __init__(self, address: str, root_certificates: Path | None = None, *, is_insecure: bool = False):
        keys = generate_key_pairs()
        self._public_key = public_key_to_bytes(keys[1])
        interceptors: list[ProtobufClientInterceptor] = [
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(*keys),
        ]
        certificates = None if root_certificates is None else root_certificates.read_bytes()
        self._client = FleetHttpClient.from_server_address(address, is_insecure, certificates, interceptors)
        self._node = Node()
        self._closed = threading.Event()
        self._forgotten = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    @property
    def node_id(self) -> int:
        """What the SuperLink calls it."""
        return int(self._node.node_id)

    def __enter__(self) -> Self:
        """Reports to the SuperLink.

        Raises:
            Unreachable: nobody is there, or the SuperLink does not want this node.
        """
        try:
            self._call(self._client.RegisterNode, RegisterNodeFleetRequest(public_key=self._public_key))
            self._activate()
        except BaseException:
            self._client.close()
            raise
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes leave, if anybody listens."""
        self._closed.set()
        self._heart.join()
        try:
            self._call(self._client.DeactivateNode, DeactivateNodeRequest(node_id=self.node_id))
            self._call(self._client.UnregisterNode, UnregisterNodeFleetRequest(node_id=self.node_id))
        except Unreachable:
            pass  # it finds out when no heartbeat comes
        self._client.close()

    def receive(self) -> Message | None:
        """The next message, if one is there and its run is not over.

        Raises:
            Unreachable: the connection is gone, or the SuperLink has forgotten the node.
        """
        if self._forgotten.is_set():
            raise Unreachable("the server has forgotten this keyboard")
        response = self._call(self._client.PullMessages, PullMessagesRequest(node=self._node))
        if not response.messages_list:
            return None
        run = message_from_proto(response.messages_list[0]).metadata.run_id
        tree = response.message_object_trees[0]

        def pull(name: str) -> bytes:
            asked = PullObjectRequest(node=self._node, run_id=run, object_id=name)
            found = self._call(self._client.PullObject, asked)
            if not found.object_found:
                raise Unreachable("a part of a message is missing")
            if not found.object_available:
                raise ObjectUnavailableError(name)
            return bytes(found.object_content)

        def confirm(name: str) -> None:
            asked = ConfirmMessageReceivedRequest(node=self._node, run_id=run, message_object_id=name)
            self._call(self._client.ConfirmMessageReceived, asked)

        try:
            message = pull_and_inflate_object_from_tree(tree, pull, confirm, return_type=Message)
        except Stopped:
            return None
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def send(self, reply: Message, seconds: float, before: Callable[[int], None]) -> None:
        """Sends a reply; one to a run that is over is dropped.

        Args:
            seconds: that it took to make, as the SuperLink wants to know.
            before: told how many bytes the reply has, before the first of them leaves.

        Raises:
            Unreachable: the connection is gone.
        """
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            tree = get_object_tree(reply)
            contents = {name: part.deflate() for name, part in get_all_nested_objects(reply).items()}
        letter = message_to_proto(remove_content_from_message(reply))
        request = PushMessagesRequest(
            node=self._node,
            messages_list=[letter],
            message_object_trees=[tree],
            clientapp_runtime_list=[seconds],
        )
        before(request.ByteSize() + sum(map(len, contents.values())))
        with contextlib.suppress(Stopped):
            answer = self._call(self._client.PushMessages, request)
            for name in answer.objects_to_push:
                part = PushObjectRequest(
                    node=self._node,
                    run_id=reply.metadata.run_id,
                    object_id=name,
                    object_content=contents[name],
                    session_id=answer.session_id,
                )
                self._call(self._client.PushObject, part)

    def _activate(self) -> None:
        asked = ActivateNodeRequest(
            public_key=self._public_key, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL
        )
        self._node = Node(node_id=self._call(self._client.ActivateNode, asked).node_id)

    def _beat(self) -> None:
        """Says every now and then that the node is there; who notices that it is not is `receive`."""
        while not self._closed.wait(HEARTBEAT_SECONDS):
            beat = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL)
            try:
                if not self._call(self._client.SendNodeHeartbeat, beat).success:
                    self._forgotten.set()
            except Unreachable:
                continue

    def _call(self, method: Callable[[Any], Any], request: Any) -> Any:
        try:
            return method(request)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.FORBIDDEN:
                raise Stopped("the server refuses this keyboard") from error
            raise Unreachable(f"the server answers with status {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise Unreachable(str(error) or type(error).__name__) from error
        except ValueError as error:  # flwr: its bytes are no protobuf
            raise Unreachable("what answers there is no SuperLink") from error
