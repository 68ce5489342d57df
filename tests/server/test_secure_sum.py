"""Secure aggregation over Flower: a real ClientApp, phones that fail and lie, and all that the server saw.

Every message and every `Context.state` goes through Flower's own protobuf, as on a real SuperNode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from fedkey_server import masking
from fedkey_server.grid import InProcessGrid
from fedkey_server.quantisation import Quantiser, Sum
from fedkey_server.roster import Advert, Terms
from fedkey_server.secure_messages import MASKED, SECURE, Shapes, is_secure
from fedkey_server.secure_phone import Identity, answer
from fedkey_server.secure_sum import SecureSum, secure_sum

IDENTITIES = {phone: Ed25519PrivateKey.from_private_bytes(bytes([phone] * 32)) for phone in range(1, 60)}
REGISTRY = {phone: identity.public_key().public_bytes_raw() for phone, identity in IDENTITIES.items()}
SHAPES: Shapes = {"b": (3,), "a": (2, 5)}
STAGES = ("advertise", "share", "mask", "agree", "reveal")

Behaviour = Callable[[Message, Message], Message]
"""(what was asked, the honest reply) -> what the phone sends instead."""


def update_of(phone: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(phone)
    return {name: torch.tensor(rng.normal(size=shape) / 10).float() for name, shape in SHAPES.items()}


def sums_of(phone: int) -> dict[str, float]:
    return {"targets": 100_000 + 977 * phone, "nll": 0.123 + phone}


def terms_of(num_phones: int, round_number: int = 4, min_reports: int = 2) -> Terms:
    sums = (Sum("targets", 1e6), Sum("nll", 1e4))
    return Terms("a run", round_number, min_reports, Quantiser(1.0, 13, num_phones, sums))


def travelled(content: RecordDict) -> RecordDict:
    return recorddict_from_proto(recorddict_to_proto(content))


@dataclass
class Fleet:
    """Phones behind a ClientApp, and a grid that writes down all that passes the server."""

    num_phones: int
    silent: set[tuple[int, str]] = field(default_factory=set)
    crashing: set[tuple[int, str]] = field(default_factory=set)
    lying: dict[tuple[int, str], Behaviour] = field(default_factory=dict)
    smallest_crowd: int = 2
    can_train: bool = True
    trained: list[int] = field(default_factory=list)
    seen: list[RecordDict] = field(default_factory=list)
    """The contents of all messages, in order, from the server and to it."""
    secrets: dict[int, dict[str, bytes]] = field(default_factory=dict)
    """What phones kept to themselves, looked up in their own memories."""
    contexts: dict[int, Context] = field(default_factory=dict)
    """Of phones that were asked something, the last time."""

    def __post_init__(self) -> None:
        app = ClientApp()
        app.train()(self._train)
        self.grid = _Recording(app, self)

    def run(self, terms: Terms | None = None, **settings: Any) -> SecureSum:
        nodes = {phone: phone for phone in range(1, self.num_phones + 1)}
        return secure_sum(
            self.grid, nodes, terms or terms_of(self.num_phones), REGISTRY, SHAPES,
            lambda phone: RecordDict({"config": ConfigRecord({"phone": phone})}),
            **{"timeout": 60.0, "exchange_timeout": 60.0} | settings,
        )  # fmt: skip

    def _train(self, message: Message, context: Context) -> Message:
        message.content = travelled(message.content)
        context.state = travelled(context.state)
        phone, stage = context.node_id, str(message.content.config_records[SECURE]["stage"])
        self.contexts[phone] = context
        assert message.content.config_records[SECURE]["phone"] == phone  # whom a simulation's node is to play
        if (phone, stage) in self.crashing:
            raise RuntimeError("the battery is empty")
        assert is_secure(message)
        identity = Identity(phone, IDENTITIES[phone], REGISTRY)
        reply = answer(message, context, identity, self._local, self.smallest_crowd)
        for name, value in context.state.config_records.get(f"{SECURE}.{phone}", {}).items():
            if name in ("seed", "mask-secret", "cipher-secret") and value:
                self.secrets.setdefault(phone, {})[name] = value
        return self.lying.get((phone, stage), lambda asked, honest: honest)(message, reply)

    def _local(self, message: Message, context: Context) -> tuple[Mapping[str, Any], Mapping[str, float]]:
        assert message.content.config_records["config"]["phone"] == context.node_id
        if not self.can_train:
            raise RuntimeError("nothing to train on")
        self.trained.append(context.node_id)
        return update_of(context.node_id), sums_of(context.node_id)


class _Recording(InProcessGrid):
    def __init__(self, app: ClientApp, fleet: Fleet) -> None:
        super().__init__(app, fleet.num_phones, {})
        self._fleet = fleet

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        # The Grid of a SuperLink goes through the messages twice, too.
        assert len(list(messages)) == len(list(messages)) > 0

        def recorded() -> Iterator[Message]:
            for message in messages:
                self._fleet.seen.append(travelled(message.content))
                stage = str(message.content.config_records[SECURE]["stage"])
                if (message.metadata.dst_node_id, stage) not in self._fleet.silent:
                    yield message

        for reply in super().send_and_receive(recorded(), timeout=timeout):
            if reply.has_content():
                self._fleet.seen.append(travelled(reply.content))
            yield reply


def assert_sums(found: SecureSum, reporters: Iterable[int], num_phones: int) -> None:
    reporters = list(reporters)
    assert found.abandoned == ""
    assert list(found.reporters) == reporters
    step = terms_of(num_phones).quantiser.step
    for name, shape in SHAPES.items():
        plain = sum(update_of(phone)[name].double().numpy() for phone in reporters)
        assert found.update[name].shape == shape
        assert np.abs(found.update[name] - plain).max() <= len(reporters) * step / 2
    assert found.sums["targets"] == sum(sums_of(phone)["targets"] for phone in reporters)
    assert found.sums["nll"] == pytest.approx(sum(sums_of(phone)["nll"] for phone in reporters), abs=0.01)


def changed(content: Callable[[RecordDict], object]) -> Behaviour:
    def lie(asked: Message, honest: Message) -> Message:
        content(honest.content)
        return honest

    return lie


def test_the_server_learns_the_sums_of_all_phones() -> None:
    fleet = Fleet(5)
    found = fleet.run()
    assert_sums(found, range(1, 6), 5)
    assert list(found.exchanges) == list(STAGES)
    for exchange in found.exchanges.values():
        assert (exchange.asked, exchange.answered, exchange.silent) == (5, 5, 0)
        assert not exchange.refused
        assert exchange.num_bytes_sent > 0
        assert exchange.num_bytes_received > 0


def test_49_phones_mask_against_some_of_the_others() -> None:
    fleet = Fleet(
        49, silent={(3, "share"), (14, "mask"), (15, "mask")}, crashing={(9, "agree"), (26, "reveal")}
    )
    assert_sums(fleet.run(), sorted(set(range(1, 50)) - {3, 14, 15}), 49)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("way", ["silent", "crashing"])
def test_phones_that_fail_at_any_stage_cost_their_own_part_only(stage: str, way: str) -> None:
    fleet = Fleet(7, **{way: {(2, stage), (5, stage)}})  # 7 holders, a threshold of 5
    found = fleet.run()
    assert_sums(found, range(1, 8) if stage in ("agree", "reveal") else [1, 3, 4, 6, 7], 7)
    exchange = found.exchanges[stage]
    if way == "silent":
        assert exchange.silent == 2
    else:
        assert exchange.refused == {"client app raised exception": 2}
        assert exchange.examples == {"client app raised exception": "RuntimeError: the battery is empty"}
    if stage in ("advertise", "share"):
        assert 2 not in fleet.trained


@pytest.mark.parametrize("stage", STAGES[1:])
def test_below_the_threshold_the_round_is_abandoned_and_nothing_revealed(stage: str) -> None:
    fleet = Fleet(7, silent={(phone, stage) for phone in (1, 2, 3)})
    found = fleet.run()
    assert "too few" in found.abandoned
    assert (found.update, found.sums, found.reporters) == ({}, {}, ())
    assert list(found.exchanges)[-1] == stage
    if stage == "share":
        assert not fleet.trained
    if stage != "reveal":
        assert not [content for content in fleet.seen if "seeds" in content.config_records.get(SECURE, {})]


def test_fewer_reports_than_agreed_are_not_summed() -> None:
    fleet = Fleet(7, silent={(1, "mask")})
    assert fleet.run(terms_of(7, min_reports=7)).abandoned == "too few phones reported"


def test_phones_that_never_come_are_no_reason_to_stop() -> None:
    fleet = Fleet(7, silent={(phone, "advertise") for phone in (1, 2, 3, 4)})
    assert_sums(fleet.run(), [5, 6, 7], 7)


def signed_by_another(asked: Message, honest: Message) -> Message:
    record = honest.content.config_records[SECURE]
    terms = Terms.from_json(str(asked.content.config_records[SECURE]["terms"]))
    phone, cipher_key, mask_key = (record[f"advert-{name}"][0] for name in Advert._fields[:3])
    record["advert-signature"] = [Advert.sign(terms, phone, cipher_key, mask_key, IDENTITIES[9]).signature]
    return honest


def with_words(words: np.ndarray) -> Behaviour:
    return changed(lambda content: content.__setitem__(MASKED, ArrayRecord({MASKED: Array(words)})))


def with_field(name: str, value: Any) -> Behaviour:
    return changed(lambda content: content.config_records[SECURE].__setitem__(name, value))


@pytest.mark.parametrize(
    ("stage", "lie", "reason"),
    [
        ("advertise", signed_by_another, "a key that its phone did not sign"),
        ("advertise", with_field("advert-phone", [3]), "a key that its phone did not sign"),
        ("advertise", changed(lambda content: content.clear()), "malformed reply"),
        ("advertise", with_field("advert-phone", [2, 2]), "malformed reply"),
        ("share", with_field("letters-of", [1, 3, 4, 5, 6, 9]), "letters to others than its neighbours"),
        ("share", with_field("letters", [b"short"] * 6), "letters of the wrong size"),
        ("share", with_field("seed-digest", 7), "malformed reply"),
        ("mask", with_words(np.zeros(14, dtype=np.uint32)), "wrong shapes"),
        ("mask", with_words(np.zeros(15, dtype=np.float32)), "wrong shapes"),
        ("mask", with_words(np.zeros((15, 1), dtype=np.uint32)), "wrong shapes"),
        ("mask", changed(lambda content: content.clear()), "malformed reply"),
        ("agree", with_field("signature", bytes(64)), "a list that the phone did not sign"),
        ("agree", with_field("signature", "yes"), "malformed reply"),
        ("reveal", with_field("keys-of", [1]), "malformed reply"),
        ("reveal", with_field("seeds", [b"short"] * 7), "shares of the wrong size"),
    ],
)  # fmt: skip
def test_a_lying_phone_is_left_out_and_named_by_reason(stage: str, lie: Behaviour, reason: str) -> None:
    fleet = Fleet(7, lying={(2, stage): lie})
    found = fleet.run()
    assert_sums(found, range(1, 8) if stage in ("agree", "reveal") else [1, 3, 4, 5, 6, 7], 7)
    assert found.exchanges[stage].refused == {reason: 1}


def test_nonsense_under_a_mask_is_found_in_the_total() -> None:
    """A phone that does not mask as agreed leaves noise, which is longer than seven clipped updates."""
    noise = np.random.default_rng(0).integers(0, 2**32, 15, dtype=np.uint32)
    found = Fleet(7, lying={(2, "mask"): with_words(noise)}).run()
    assert found.abandoned == "the sum of the updates is longer than honest phones can make it"


def test_a_refusal_in_many_words_is_cut() -> None:
    content = RecordDict({SECURE: ConfigRecord({"refused": "no! " * 1000})})
    found = Fleet(7, lying={(2, "mask"): lambda asked, honest: Message(content, reply_to=asked)}).run()
    assert [len(reason) for reason in found.exchanges["mask"].refused] == [80]


# What phones refuse over the wire.


def ask(fleet: Fleet, phone: int, said: Mapping[str, Any]) -> str:
    """What a phone answers to one message: its refusal, or ""."""
    config = ConfigRecord({"phone": phone})
    content = RecordDict({SECURE: ConfigRecord({"phone": phone, **said}), "config": config})
    (reply,) = fleet.grid.send_and_receive([Message(content, phone, MessageType.TRAIN)])
    return str(reply.content.config_records.get(SECURE, {}).get("refused", ""))


def said_to(fleet: Fleet, stage: str) -> list[dict[str, Any]]:
    """What the server said in a stage, phone by phone."""
    records = [content.config_records.get(SECURE, {}) for content in fleet.seen]
    return [dict(record) for record in records if record.get("stage") == stage]


def test_a_round_is_played_once() -> None:
    fleet = Fleet(4)
    assert fleet.run().abandoned == ""
    assert fleet.run().exchanges["advertise"].refused == {"a round that has been there": 4}
    assert fleet.run(terms_of(4, round_number=3)).abandoned
    assert fleet.run(terms_of(4, round_number=5)).abandoned == ""
    assert fleet.run(replace(terms_of(4), run="another")).abandoned == ""


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_asked_twice_is_refused(stage: str) -> None:
    """Phone 3 stays in the round until the stage; then it hears the same question again."""
    later = STAGES[STAGES.index(stage) + 1 :]
    fleet = Fleet(4, silent={(3, each) for each in later})
    fleet.run()
    question = said_to(fleet, stage)[2]
    trained = list(fleet.trained)
    assert ask(fleet, 3, question) in ("asked out of turn", "a round that has been there")
    assert fleet.trained == trained
    assert memory_of(fleet, 3).keys() == {"run", "round"}


def memory_of(fleet: Fleet, phone: int) -> Mapping[str, Any]:
    return fleet.contexts[phone].state.config_records[f"{SECURE}.{phone}"]


def test_an_answer_to_another_rounds_question_is_refused() -> None:
    fleet = Fleet(4, silent={(3, "share")})
    fleet.run()
    question = said_to(fleet, "share")[2]
    fleet.silent.clear()
    fleet.silent.add((3, "share"))
    fleet.run(terms_of(4, round_number=5))
    fleet.silent.clear()
    assert ask(fleet, 3, question) == "asked about another round"


def test_a_phone_that_was_never_asked_to_advertise_answers_nothing() -> None:
    fleet = Fleet(4)
    for stage in STAGES[1:]:
        assert ask(fleet, 1, {"stage": stage, "round": bytes(32)}) == "asked out of turn"


def test_a_crowd_too_small_for_a_phone_is_refused() -> None:
    fleet = Fleet(4, smallest_crowd=3)
    assert fleet.run().exchanges["advertise"].refused == {"too small a crowd": 4}
    assert_sums(fleet.run(terms_of(4, min_reports=3)), range(1, 5), 4)


def test_terms_that_make_no_sense_are_refused() -> None:
    assert ask(Fleet(2), 1, {"stage": "advertise", "terms": "{}"}) == "terms that make no sense"


@pytest.mark.parametrize("stage", STAGES)
def test_secrets_are_gone_after_the_round_and_after_a_failure(stage: str) -> None:
    fleet = Fleet(7, crashing={(2, stage)})
    fleet.run()
    for phone in (1, 3, 4, 5, 6, 7):
        assert memory_of(fleet, phone) == {"run": "a run", "round": 4}
    # An app that dies leaves its node's memory as it was, until the next round begins.
    fleet.crashing.clear()
    fleet.run(terms_of(7, round_number=5))
    assert memory_of(fleet, 2) == {"run": "a run", "round": 5}


def test_when_training_fails_the_phone_has_left_the_round() -> None:
    fleet = Fleet(4, can_train=False)
    found = fleet.run()
    assert found.exchanges["mask"].refused == {"client app raised exception": 4}
    assert memory_of(fleet, 1) == {"run": "a run", "round": 4}


def test_an_identity_prints_no_key() -> None:
    text = repr(Identity(1, IDENTITIES[1], REGISTRY))
    assert "phone=1" in text
    assert "key" not in text.lower().replace("identity", "")


def test_settings_that_do_not_fit_are_refused() -> None:
    fleet = Fleet(3)
    with pytest.raises(ValueError, match="as many coordinates"):
        fleet.run(replace(terms_of(3), quantiser=Quantiser(1.0, 12, 3)))
    with pytest.raises(ValueError, match="the same node"):
        secure_sum(
            fleet.grid, {1: 1, 2: 1}, terms_of(3), REGISTRY, SHAPES, lambda phone: RecordDict(), timeout=1.0,
            exchange_timeout=1.0,
        )  # fmt: skip


# What the server saw.


def leaks(fleet: Fleet) -> set[str]:
    """Kinds of private things found in any message of the run, whole or in part."""
    contents = [recorddict_to_proto(content).SerializeToString() for content in fleet.seen]
    arrays = [
        array.data
        for content in fleet.seen
        for record in content.array_records.values()
        for array in record.values()
    ]
    everything = b"\0".join([*contents, *arrays])
    scalars = set()
    for content in fleet.seen:
        for record in content.config_records.values():
            for value in record.values():
                scalars |= set(value) if isinstance(value, list) else {value}
    quantiser = terms_of(fleet.num_phones).quantiser
    found = set()
    for phone, secrets in fleet.secrets.items():
        flat = np.concatenate([update_of(phone)[name].numpy().ravel() for name in sorted(SHAPES)])
        words = quantiser.encode(flat, sums_of(phone))
        for start in range(len(flat) - 1):  # any two neighbouring numbers are more than chance
            for plain in (flat, flat.astype(np.float64), flat.astype(np.float16)):
                if plain[start : start + (4 if plain.itemsize < 4 else 2)].tobytes() in everything:
                    found.add("update")
        for start in range(len(words) - 1):
            if words[start : start + 2].tobytes() in everything:
                found.add("count" if start == len(flat) else "quantised update")
        if scalars & {sums_of(phone)["targets"], str(sums_of(phone)["targets"]), sums_of(phone)["nll"]}:
            found.add("count")
        mask = np.zeros(len(words), dtype=np.uint32)
        if "seed" in secrets:  # a phone that never shared has none
            REAL_KEYSTREAM(mask, secrets["seed"], 1)
        for start in range(len(mask) - 1 if mask.any() else 0):
            if mask[start : start + 2].tobytes() in everything:
                found.add("self-mask")
        for name, secret in secrets.items():
            if secret in everything or secret[:16] in everything:
                found.add(name)
    is_last = [any("seeds" in record for record in content.config_records.values()) for content in fleet.seen]
    told = [content.config_records[SECURE] for content, last in zip(fleet.seen, is_last, strict=True) if last]
    before = b"\0".join(content for content, last in zip(contents, is_last, strict=True) if not last)
    if any(share in before for record in told for name in ("seeds", "keys") for share in record[name]):
        found.add("share")
    return found


REAL_KEYSTREAM = masking.add_keystream


def failing_fleet() -> Fleet:
    """Everything happens in it."""
    return Fleet(9, silent={(1, "share"), (2, "mask")}, crashing={(3, "reveal")})


def test_no_message_holds_anything_of_one_phone() -> None:
    fleet = failing_fleet()
    assert_sums(fleet.run(), range(3, 10), 9)
    assert fleet.secrets.keys() == set(range(1, 10))
    assert leaks(fleet) == set()


def test_with_the_masks_off_that_test_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "add_keystream", lambda words, key, sign: None)
    fleet = failing_fleet()
    assert_sums(fleet.run(), range(3, 10), 9)
    assert leaks(fleet) == {"quantised update", "count"}


def test_with_letters_unsealed_that_test_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Glass:
        def encrypt(self, nonce: bytes, letter: bytes, bound: None) -> bytes:
            return letter + bytes(16)

        def decrypt(self, nonce: bytes, sealed: bytes, bound: None) -> bytes:
            return sealed[:-16]

    monkeypatch.setattr(masking, "_letter_cipher", lambda *parties: Glass())
    fleet = failing_fleet()
    assert_sums(fleet.run(), range(3, 10), 9)
    assert leaks(fleet) == {"share"}


def test_with_the_plain_update_in_a_message_that_test_fails() -> None:
    def tells(asked: Message, honest: Message) -> Message:
        honest.content["extra"] = ArrayRecord({"update": Array(update_of(4)["a"].numpy())})
        honest.content["more"] = ConfigRecord({"targets": int(sums_of(4)["targets"])})
        return honest

    fleet = Fleet(5, lying={(4, "mask"): tells})
    fleet.run()
    assert leaks(fleet) == {"update", "count"}


def test_with_a_mask_or_a_seed_in_a_message_that_test_fails() -> None:
    fleet = Fleet(5)
    fleet.run()
    seed = fleet.secrets[2]["seed"]
    mask = np.zeros(15, dtype=np.uint32)
    REAL_KEYSTREAM(mask, seed, 1)
    fleet.seen.append(RecordDict({"mask": ArrayRecord({"mask": Array(mask)})}))
    assert leaks(fleet) == {"self-mask"}
    fleet.seen.append(RecordDict({"seed": ConfigRecord({"seed": seed})}))
    assert leaks(fleet) == {"self-mask", "seed"}
