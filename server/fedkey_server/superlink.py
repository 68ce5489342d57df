"""Flower's own Grid, over which real phones are reached: replies as they come, and none left behind.

In: the Grid that a SuperLink gives its ServerApp. Out: a Grid for `fedkey_server.strategy`, which may stop
listening whenever it has heard enough. Next stop: `fedkey_server.server_app`.

Flower's `send_and_receive` holds all replies until the last one is there. Here they are fetched a few at a
time, and a round that breaks off the iteration leaves the slow phones behind: their replies are fetched when
they come and thrown away, and until then they are not at hand for another round, since a SuperNode works on
one message after the other.

Fetching is also what removes a reply from the SuperLink: it deletes the message when it hands it out, and the
arrays when their arrival is confirmed. A reply whose message has expired loses its row but not its arrays,
which then stay until the run is over. So messages keep Flower's long time to live, and every reply is
fetched; see MILLION.md for what no app can remove.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

POLL_SECONDS = 1.0
"""Between two looks for replies."""

AT_ONCE = 16
"""Replies fetched by one request, and held in memory."""


class SuperLinkGrid(Grid):
    """The Grid of a ServerApp, with streaming.

    Args:
        grid: Flower's.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._overdue: dict[str, int] = {}
        """Message -> its node, where nobody waits for the reply any longer."""

    def set_run(self, run: Any) -> None:
        """As the Grid below."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """As the Grid below."""
        return self._grid.run

    def get_node_ids(self) -> list[int]:
        """The nodes that are online and do not still work for a round that went on without them."""
        self.sweep()
        busy = set(self._overdue.values())
        return [node for node in self._grid.get_node_ids() if node not in busy]

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """As the Grid below."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As the Grid below."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the Grid below."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Replies as they come, until all are there, `timeout` seconds are over or the caller has enough."""
        sent = list(messages)
        if not sent:
            return
        taken = set(self._grid.push_messages(sent))  # without those whose node is gone
        names = {message.metadata.message_id: message.metadata.dst_node_id for message in sent}
        waiting = {name: node for name, node in names.items() if name in taken}
        del sent
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while waiting:
                is_last_look = deadline is not None and time.monotonic() >= deadline
                yield from self._fetch(waiting)
                self.sweep()
                if is_last_look or not waiting:
                    return
                left = POLL_SECONDS if deadline is None else deadline - time.monotonic()
                time.sleep(min(POLL_SECONDS, max(0.0, left)))
        finally:  # also when the caller breaks off
            self._overdue |= waiting

    def sweep(self) -> None:
        """Fetches what came too late, and throws it away."""
        for _ in self._fetch(self._overdue):
            pass

    def _fetch(self, waiting: dict[str, int]) -> Iterator[Message]:
        """The replies that are there; their messages are taken out of `waiting`."""
        names = list(waiting)
        for start in range(0, len(names), AT_ONCE):
            replies = list(self._grid.pull_messages(names[start : start + AT_ONCE]))
            nodes = [waiting.pop(reply.metadata.reply_to_message_id, None) for reply in replies]
            for reply, node in zip(replies, nodes, strict=True):
                if node is not None:
                    yield _signed(reply, node)


def _signed(reply: Message, node: int) -> Message:
    """A reply as its node's: the SuperLink tells in its own name what became of a node that went away."""
    if reply.metadata.src_node_id == node or not reply.has_error():
        return reply
    asked = Message(RecordDict(), node, MessageType.TRAIN, group_id=reply.metadata.group_id)
    return Message(reply.error, reply_to=asked)
