"""Flower's Grid inside one process: no sockets, no Ray, one phone after the other.

In: messages for nodes. Out: the replies of the same ClientApp that real phones run. Next stop:
`fedkey_server.server_app`.

Messages are taken and replies given one by one, so that a strategy which makes the former as they are sent
and adds the latter up as they arrive holds as few for a thousand phones as for ten. A phone that raises is
answered for with an error message, as Flower's own engines do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

log = logging.getLogger(__name__)

Client = Callable[[Message, Context], Message]
"""What a ClientApp is when it is called."""

SERVER_NODE = 0


def replies_to(grid: Grid, messages: Iterable[Message], timeout: float | None) -> closing[Generator[Message]]:
    """The replies that a Grid gives, for a `with` block: whoever leaves it early stops listening there and
    then, not whenever Python clears away."""

    def each() -> Generator[Message]:
        yield from grid.send_and_receive(messages, timeout=timeout)

    return closing(each())


class InProcessGrid(Grid):
    """Runs a ClientApp for `num_nodes` phones in this process.

    Args:
        client: the ClientApp.
        num_nodes: node ids are 1 to num_nodes; node n is the phone with partition-id n - 1.
        run_config: what the app's run configuration holds.
    """

    answers_in_order = True
    """Whether replies come in the order of the messages, so that what is made of them does not depend on who
    was faster."""

    def __init__(self, client: Client, num_nodes: int, run_config: dict[str, Any]) -> None:
        self._client = client
        self._run_config = run_config
        self._num_nodes = num_nodes
        self._states: dict[int, RecordDict] = {}
        # Messages ask the process who they come from; under a SuperLink Flower answers that, here we do.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 0, 0, SERVER_NODE

    def set_run(self, run: Any) -> None:
        """There is one run, this process."""

    @property
    def run(self) -> Any:
        """There is no run object without a SuperLink."""
        return None

    def get_node_ids(self) -> list[int]:
        """All phones, always reachable."""
        return list(range(1, self._num_nodes + 1))

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to one phone."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not offered: work happens in `send_and_receive`, so that replies need not be stored."""
        raise RuntimeError("the in-process grid has no mailbox; use send_and_receive")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not offered; see `push_messages`."""
        raise RuntimeError("the in-process grid has no mailbox; use send_and_receive")

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Runs each phone when its reply is asked for.

        All of them, however long that takes: `timeout` is what real phones have side by side, and if it ended
        a round of phones that stand in line, a busy machine would train another model than an idle one.
        """
        return map(self._reply, messages)

    def _reply(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        context = self._context_of(node)
        try:
            return self._client(message, context)
        except Exception as error:  # whatever a phone's code raises must not stop the round
            log.info("phone %d failed", node, exc_info=True)
            return Message(
                Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"{type(error).__name__}: {error}"),
                reply_to=message,
            )
        finally:
            if context.state:  # most phones keep nothing, and there may be a hundred thousand
                self._states[node] = context.state
            else:
                self._states.pop(node, None)

    def _context_of(self, node: int) -> Context:
        """What a phone knows of itself; its `state` lasts as long as this grid."""
        return Context(
            run_id=0,
            node_id=node,
            node_config={"partition-id": node - 1, "num-partitions": self._num_nodes},
            state=self._states.get(node, RecordDict()),
            run_config=dict(self._run_config),
        )
