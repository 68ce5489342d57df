"""The server's side of secure aggregation over Flower: one round, five exchanges.

In: a Grid, the phones of a round, what to ask them to train. Out: the sum of their updates, and who failed
when and why. Next stop: `fedkey_server.server_app`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Error, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedkey_server.grid import replies_to
from fedkey_server.masking import (
    ADVERTISE,
    AGREE,
    MASK,
    REVEAL,
    SHARE,
    Abandoned,
    Letters,
    Revealed,
    ServerRound,
)
from fedkey_server.quantisation import OutOfRange
from fedkey_server.roster import Refused, Registry, Terms
from fedkey_server.secure_messages import (
    MASKED,
    SECURE,
    Shapes,
    as_bytes,
    num_bytes,
    pack_adverts,
    pack_by_phone,
    unflatten,
    unpack_adverts,
    unpack_by_phone,
)

LONGEST_REASON = 80
"""Of a phone's refusal: it may say what it likes."""


@dataclass
class Exchange:
    """What became of the messages of one stage."""

    asked: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Reason -> phones that refused, failed, or said what could not be used."""
    examples: dict[str, str] = field(default_factory=dict)
    """Reason -> what the first such phone said."""
    unasked: int = 0
    """Replies of phones that were not asked, or had answered."""
    num_bytes_sent: int = 0
    num_bytes_received: int = 0

    @property
    def silent(self) -> int:
        """Phones that did not answer in time."""
        return self.asked - self.answered - self.refused.total()


@dataclass(frozen=True)
class SecureSum:
    """What the server knows after a round."""

    update: dict[str, NDArray[np.float64]]
    """Summed over the reporters; empty when the round was abandoned."""
    sums: dict[str, float]
    reporters: tuple[int, ...]
    """The phones in the sums."""
    abandoned: str
    """Why there are no sums; empty when there are."""
    exchanges: dict[str, Exchange]
    """By stage, in order, as far as the round went."""

    def leaves_out(self, stage: str) -> bool:
        """Whether phones that failed at this stage are not in the sums; if there are none, nobody is."""
        return bool(self.abandoned) or stage in (ADVERTISE, SHARE, MASK)

    @property
    def silent(self) -> int:
        """Phones that are not in the sums, since they did not answer in time."""
        return sum(each.silent for stage, each in self.exchanges.items() if self.leaves_out(stage))


def secure_sum(
    grid: Grid,
    nodes: Mapping[int, int],
    terms: Terms,
    registry: Registry,
    shapes: Shapes,
    configure: Callable[[int], RecordDict],
    *,
    timeout: float,
    exchange_timeout: float,
    goal: float = math.inf,
    known: bool = True,
) -> SecureSum:
    """One round.

    Args:
        grid: reaches the phones.
        nodes: phone -> its node, for everyone who is invited.
        shapes: of the update.
        configure: phone -> what it needs to train, in records of its own.
        timeout: seconds that phones have to train.
        exchange_timeout: seconds for each of the other stages.
        goal: masked updates with which the server is content; who is still at work then has vanished.
        known: whether the phones are those whom `nodes` names. Otherwise its numbers mean nothing, and a node
            is the phone as which it signs its keys: a real fleet's nodes have names that its SuperLink draws.
    """
    if sum(map(math.prod, shapes.values())) != terms.quantiser.num_coordinates:
        raise ValueError("the shapes do not have as many coordinates as the quantiser")
    server = ServerRound(terms, registry, nodes if known else registry)
    post = _Post(grid, nodes, terms)
    nodes_of: dict[int, int] = {}

    def take_advert(phone: int, content: RecordDict) -> None:
        (advert,) = unpack_adverts(content.config_records[SECURE])
        claimed = phone if known else advert.phone
        server.add_advert(claimed, advert)
        nodes_of[claimed] = nodes[phone]

    def take_letters(phone: int, content: RecordDict) -> None:
        said = content.config_records[SECURE]
        server.add_letters(phone, Letters(as_bytes(said["seed-digest"]), unpack_by_phone("letters", said)))

    def take_masked(phone: int, content: RecordDict) -> None:
        server.add_masked(phone, content.array_records[MASKED][MASKED].numpy())

    def take_agreement(phone: int, content: RecordDict) -> None:
        server.add_agreement(phone, as_bytes(content.config_records[SECURE]["signature"]))

    def take_revealed(phone: int, content: RecordDict) -> None:
        said = content.config_records[SECURE]
        revealed = Revealed(unpack_by_phone("seeds", said), unpack_by_phone("keys", said))
        server.add_revealed(phone, revealed)

    try:
        invitation = {"terms": terms.to_json()}
        post.exchange(ADVERTISE, {phone: invitation for phone in nodes}, take_advert, exchange_timeout)
        adverts = server.close_adverts()
        post.address(nodes_of)
        listed = pack_adverts(adverts)
        post.exchange(SHARE, {advert.phone: listed for advert in adverts}, take_letters, exchange_timeout)
        inboxes = {phone: pack_by_phone("letters", inbox) for phone, inbox in server.close_letters().items()}
        post.exchange(MASK, inboxes, take_masked, timeout, configure, goal)
        reporters = server.close_masked()
        survivors = {"survivors": list(reporters)}
        post.exchange(AGREE, {phone: survivors for phone in reporters}, take_agreement, exchange_timeout)
        agreements = {
            phone: pack_by_phone("signatures", signed) for phone, signed in server.close_agreements().items()
        }
        post.exchange(REVEAL, agreements, take_revealed, exchange_timeout)
        update, sums = terms.quantiser.decode(server.unmask(), len(reporters))
        return SecureSum(unflatten(update, shapes), sums, reporters, "", post.exchanges)
    except (Abandoned, OutOfRange) as reason:
        return SecureSum({}, {}, (), str(reason), post.exchanges)


class _Post:
    """Carries the messages of a round and writes down what became of them."""

    def __init__(self, grid: Grid, nodes: Mapping[int, int], terms: Terms) -> None:
        self._grid = grid
        self.address(nodes)
        if len(self._phones) < len(nodes):
            raise ValueError("two phones of a round have the same node")
        self._terms = terms
        self.exchanges: dict[str, Exchange] = {}

    def address(self, nodes: Mapping[int, int]) -> None:
        """From now on phones are reached at these nodes."""
        self._nodes = nodes
        self._phones = {node: phone for phone, node in nodes.items()}

    def exchange(
        self,
        stage: str,
        said: Mapping[int, Mapping[str, Any]],
        take: Callable[[int, RecordDict], None],
        timeout: float,
        configure: Callable[[int], RecordDict] = lambda phone: RecordDict(),
        goal: float = math.inf,
    ) -> None:
        """Sends each phone what is said to it, and takes the answers one by one as they come, until
        the goal is reached."""
        found = self.exchanges[stage] = Exchange(asked=len(said))
        waiting = {self._nodes[phone] for phone in said}
        with replies_to(self._grid, self._messages(stage, said, configure), timeout) as replies:
            for reply in replies:
                if reply.has_content():
                    found.num_bytes_received += num_bytes(reply.content)
                if reply.metadata.src_node_id not in waiting:  # each phone counts once
                    found.unasked += 1
                    continue
                waiting.remove(reply.metadata.src_node_id)
                try:
                    self._take(reply, take)
                    found.answered += 1
                except Refused as refusal:
                    found.refused[refusal.reason] += 1
                    if refusal.detail:
                        found.examples.setdefault(refusal.reason, refusal.detail)
                if found.answered >= goal and waiting:
                    return

    def _messages(
        self, stage: str, said: Mapping[int, Mapping[str, Any]], configure: Callable[[int], RecordDict]
    ) -> list[Message]:
        """A list, because the Grid of a SuperLink goes through its messages twice."""
        messages = []
        for phone, words in said.items():
            content = configure(phone)
            # Which phone a node of a simulation is to play; a real one knows.
            named: dict[str, Any] = {"stage": stage, "round": self._terms.digest, "phone": phone}
            content[SECURE] = ConfigRecord({**named, **words})
            self.exchanges[stage].num_bytes_sent += num_bytes(content)
            group = str(self._terms.round_number)
            messages.append(Message(content, self._nodes[phone], MessageType.TRAIN, group_id=group))
        return messages

    def _take(self, reply: Message, take: Callable[[int, RecordDict], None]) -> None:
        """Hands a reply on; whatever is wrong with it comes back as `Refused`."""
        if reply.has_error():
            raise Refused(reason_of(reply.error), " ".join(str(reply.error.reason).split()))
        try:
            said = reply.content.config_records.get(SECURE, ConfigRecord())
            if "refused" in said:
                raise Refused(str(said["refused"])[:LONGEST_REASON])
            take(self._phones[reply.metadata.src_node_id], reply.content)
        except Refused:
            raise
        except Exception as error:  # the bytes are a stranger's: numpy may raise anything over them
            raise Refused("malformed reply", f"{type(error).__name__}: {error}") from error


def reason_of(error: Error) -> str:
    """Flower's error code in words, such as "client app raised exception"."""
    names = {code: name for name, code in vars(ErrorCode).items() if name.isupper()}
    return names.get(error.code, f"error {error.code}").lower().replace("_", " ")
