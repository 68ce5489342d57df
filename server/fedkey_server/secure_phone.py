"""A phone in secure aggregation, as Flower sees it.

In: a message of one stage, and a function that trains. Out: the reply. Next stop: `fedkey_server.secure_sum`.

A phone's app hands its messages on, and hears of the training only:

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if is_secure(message):
            return answer(message, context, Identity(phone, key, registry), train_for_sum)
        ...

Between two stages a phone's secrets lie in `Context.state`, because a real SuperNode starts a process for
every message; it keeps that state in its own memory. They are dropped after the last stage, after whatever
went wrong, and at the latest when the next round begins. That the round was there stays: none of
a run is played twice. The run's name is the server's to choose, so that this binds honest servers only; what
a keyboard does about others stands in `fedkey_server.keyboard_phone`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from fedkey_server.masking import ADVERTISE, AGREE, MASK, REVEAL, SHARE, PhoneRound
from fedkey_server.quantisation import Words
from fedkey_server.roster import Refused, Registry, Terms
from fedkey_server.secure_messages import (
    MASKED,
    SECURE,
    as_bytes,
    as_int,
    as_ints,
    flatten,
    pack_adverts,
    pack_by_phone,
    unpack_adverts,
    unpack_by_phone,
)
from fedkey_server.shamir import RandomBytes

Train = Callable[[Message, Context], tuple[Mapping[str, Any], Mapping[str, float]]]
"""One phone's training: its update as named arrays (ndarrays or tensors on the CPU), and its sums."""


@dataclass(frozen=True)
class Identity:
    """Who a phone is, and whom it takes for one."""

    phone: int
    key: Ed25519PrivateKey = field(repr=False)
    """Long-term; its public half is in everybody's registry."""
    registry: Registry = field(repr=False)


def answer(
    message: Message,
    context: Context,
    identity: Identity,
    train: Train,
    smallest_crowd: int = 2,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> Message:
    """A phone's reply in any stage; what the protocol does not allow is refused in words.

    Args:
        message: for which `is_secure` holds. In the stage of training it also carries whatever the server's
            `configure` put there.
        train: called when keys were shared with enough neighbours.
        smallest_crowd: the fewest phones in whose sum this phone is willing to vanish.
    """
    asked = message.content.config_records[SECURE]
    memory = Memory(context, identity.phone)
    try:
        if asked["stage"] == ADVERTISE:
            content = _advertise(asked, memory, identity, smallest_crowd, random_bytes)
        else:
            state = memory.recall(as_bytes(asked["round"]))
            content = _go_on(state, message, context, identity, train, random_bytes)
            if asked["stage"] == REVEAL:
                memory.forget()
            else:
                memory.keep(state)
    except Refused as refusal:
        memory.forget()
        content = RecordDict({SECURE: ConfigRecord({"refused": str(refusal)})})
    except BaseException:
        memory.forget()
        raise
    return Message(content, reply_to=message)


def _advertise(
    asked: ConfigRecord, memory: Memory, identity: Identity, smallest_crowd: int, random_bytes: RandomBytes
) -> RecordDict:
    terms = Terms.from_json(str(asked["terms"]))
    if terms.min_reports < smallest_crowd:
        raise Refused("too small a crowd")
    memory.enter(terms)
    state, advert = PhoneRound.begin(terms, identity.phone, identity.key, random_bytes)
    memory.keep(state)
    return RecordDict({SECURE: ConfigRecord(pack_adverts([advert]))})


def _go_on(
    state: PhoneRound,
    message: Message,
    context: Context,
    identity: Identity,
    train: Train,
    random_bytes: RandomBytes,
) -> RecordDict:
    asked = message.content.config_records[SECURE]
    said: dict[str, Any]
    if asked["stage"] == SHARE:
        letters = state.share(unpack_adverts(asked), identity.registry, random_bytes)
        said = {"seed-digest": letters.seed_digest} | pack_by_phone("letters", letters.sealed)
    elif asked["stage"] == MASK:

        def train_and_encode() -> Words:
            update, sums = train(message, context)
            return state.terms.quantiser.encode(flatten(update), sums)

        words = state.mask(unpack_by_phone("letters", asked), train_and_encode)
        return RecordDict({MASKED: ArrayRecord({MASKED: Array(words)})})
    elif asked["stage"] == AGREE:
        said = {"signature": state.agree(as_ints(asked["survivors"]), identity.key)}
    elif asked["stage"] == REVEAL:
        revealed = state.reveal(unpack_by_phone("signatures", asked), identity.registry)
        said = pack_by_phone("seeds", revealed.seed_shares) | pack_by_phone("keys", revealed.key_shares)
    else:
        raise Refused("an unknown stage")
    return RecordDict({SECURE: ConfigRecord(said)})


class Memory:
    """What a phone keeps in Flower's `Context.state` from one stage to the next: one record per phone.

    A node of a simulation may play several phones.
    """

    def __init__(self, context: Context, phone: int) -> None:
        self._state = context.state
        self._name = f"{SECURE}.{phone}"

    def enter(self, terms: Terms) -> None:
        """Remembers that a round has begun, forgets the one before; refuses one that has been there."""
        before = self._state.config_records.get(self._name)
        if before and before["run"] == terms.run and as_int(before["round"]) >= terms.round_number:
            raise Refused("a round that has been there")
        self._state[self._name] = ConfigRecord({"run": terms.run, "round": terms.round_number})

    def keep(self, state: PhoneRound) -> None:
        """Writes down everything that the next stage needs."""
        kept: dict[str, Any] = (
            {
                "run": state.terms.run,
                "round": state.terms.round_number,
                "terms": state.terms.to_json(),
                "phone": state.phone,
                "turn": state.turn,
                "cipher-secret": state.cipher_secret,
                "mask-secret": state.mask_secret,
                "own-share": state.own_share,
                "seed": state.seed,
                "survivors": list(state.survivors),
            }
            | pack_adverts(state.adverts)
            | pack_by_phone("inbox", state.inbox)
        )
        self._state[self._name] = ConfigRecord(kept)

    def recall(self, terms_digest: bytes) -> PhoneRound:
        """The state in the round with these terms."""
        kept = self._state.config_records.get(self._name)
        if kept is None or "terms" not in kept:
            raise Refused("asked out of turn")
        terms = Terms.from_json(str(kept["terms"]))
        if terms.digest != terms_digest:
            raise Refused("asked about another round")
        return PhoneRound(
            terms=terms,
            phone=as_int(kept["phone"]),
            turn=str(kept["turn"]),
            cipher_secret=as_bytes(kept["cipher-secret"]),
            mask_secret=as_bytes(kept["mask-secret"]),
            own_share=as_bytes(kept["own-share"]),
            seed=as_bytes(kept["seed"]),
            adverts=unpack_adverts(kept),
            inbox=unpack_by_phone("inbox", kept),
            survivors=tuple(as_ints(kept["survivors"])),
        )

    def crowd(self) -> int | None:
        """The fewest phones of a sum of the round that is on; None if none is."""
        kept = self._state.config_records.get(self._name, ConfigRecord())
        return Terms.from_json(str(kept["terms"])).min_reports if "terms" in kept else None

    def forget(self) -> None:
        """Drops every secret; which round it was stays."""
        kept = self._state.config_records.get(self._name)
        if kept is not None:
            self._state[self._name] = ConfigRecord({"run": kept["run"], "round": kept["round"]})
