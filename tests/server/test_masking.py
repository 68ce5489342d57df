"""Secure aggregation without messages: what comes out, who refuses what, and what nobody can find out."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey_server import masking
from fedkey_server.masking import Abandoned, Letters, PhoneRound, Revealed, ServerRound
from fedkey_server.quantisation import Quantiser, Sum, Words
from fedkey_server.roster import Advert, Refused, Roster, Terms, degree
from fedkey_server.shamir import combine

LENGTH = 9
IDENTITIES = {phone: Ed25519PrivateKey.from_private_bytes(bytes([phone] * 32)) for phone in range(1, 61)}
REGISTRY = {phone: identity.public_key().public_bytes_raw() for phone, identity in IDENTITIES.items()}


def terms_of(num_phones: int = 60, min_reports: int = 2, **fields: object) -> Terms:
    quantiser = Quantiser(1.0, LENGTH - 1, max_phones=num_phones, sums=(Sum("targets", 1000),))
    return replace(Terms("a run", 7, min_reports, quantiser), **fields)  # type: ignore[arg-type]


def words_of(phone: int) -> Words:
    return np.random.default_rng(phone).integers(0, 2**32, LENGTH, dtype=np.uint32)


def plain_sum(phones: Iterable[int]) -> Words:
    total = np.zeros(LENGTH, dtype=np.uint32)
    for phone in phones:
        total += words_of(phone)
    return total


@dataclass
class Round:
    """A round as far as it was driven; each method is one stage with the phones that are still there."""

    num_phones: int
    terms: Terms = field(default_factory=terms_of)
    phones: dict[int, PhoneRound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = ServerRound(self.terms, REGISTRY, range(1, self.num_phones + 1))

    def advertise(self, gone: Iterable[int] = ()) -> tuple[Advert, ...]:
        for phone in set(range(1, self.num_phones + 1)) - set(gone):
            self.phones[phone], advert = PhoneRound.begin(self.terms, phone, IDENTITIES[phone])
            self.server.add_advert(phone, advert)
        self.adverts = self.server.close_adverts()
        self.roster = Roster(self.terms, self.adverts)
        return self.adverts

    def share(self, gone: Iterable[int] = ()) -> dict[int, dict[int, bytes]]:
        for phone in set(self.phones) - set(gone):
            self.server.add_letters(phone, self.phones[phone].share(self.adverts, REGISTRY))
        self.inboxes = self.server.close_letters()
        return self.inboxes

    def mask(self, gone: Iterable[int] = ()) -> tuple[int, ...]:
        for phone in set(self.inboxes) - set(gone):
            words = self.phones[phone].mask(self.inboxes[phone], lambda phone=phone: words_of(phone))
            self.server.add_masked(phone, words)
        self.survivors = self.server.close_masked()
        return self.survivors

    def agree(self, gone: Iterable[int] = ()) -> dict[int, dict[int, bytes]]:
        for phone in set(self.survivors) - set(gone):
            signature = self.phones[phone].agree(self.survivors, IDENTITIES[phone])
            self.server.add_agreement(phone, signature)
        self.agreements = self.server.close_agreements()
        return self.agreements

    def reveal(self, gone: Iterable[int] = ()) -> Words:
        self.revealed = {}
        for phone in set(self.agreements) - set(gone):
            self.revealed[phone] = self.phones[phone].reveal(self.agreements[phone], REGISTRY)
            self.server.add_revealed(phone, self.revealed[phone])
        return self.server.unmask()


def driven(num_phones: int, *, to: str, **gone: Iterable[int]) -> Round:
    """A round that has gone through all stages up to and including `to`."""
    found = Round(num_phones)
    for stage in ("advertise", "share", "mask", "agree", "reveal"):
        getattr(found, stage)(gone.get(stage, ()))
        if stage == to:
            break
    return found


# What comes out.


@settings(max_examples=40)
@given(st.integers(2, 12), st.randoms(use_true_random=False))
def test_the_total_is_the_sum_of_those_who_reported_whoever_vanishes_when(
    num_phones: int, rng: random.Random
) -> None:
    """Up to a third of the holders vanish, spread over the stages as it falls."""
    num_gone = num_phones - Roster(terms_of(), adverts_of(num_phones)).threshold
    leavers = rng.sample(range(1, num_phones + 1), rng.randint(0, num_gone))
    leaves_at = {phone: rng.choice(["share", "mask", "agree", "reveal"]) for phone in leavers}
    found = Round(num_phones)
    found.advertise()
    for stage in ("share", "mask", "agree"):
        getattr(found, stage)([phone for phone, last in leaves_at.items() if last == stage])
    total = found.reveal([phone for phone, last in leaves_at.items() if last == "reveal"])
    expected = [phone for phone in range(1, num_phones + 1) if leaves_at.get(phone) not in ("share", "mask")]
    assert list(found.survivors) == expected
    assert np.array_equal(total, plain_sum(expected))


def adverts_of(num_phones: int, terms: Terms | None = None) -> list[Advert]:
    return [
        Advert.sign(terms or terms_of(), phone, bytes([phone] * 32), bytes(32), IDENTITIES[phone])
        for phone in range(1, num_phones + 1)
    ]


def test_phones_that_never_advertise_cost_nothing() -> None:
    found = driven(10, to="mask", advertise=range(3, 11))
    found.agree()
    assert np.array_equal(found.reveal(), plain_sum([1, 2]))


@pytest.mark.parametrize("seed", range(2))
def test_sixty_phones_mask_against_some_of_the_others_only(seed: int) -> None:
    rng = random.Random(seed)
    rest = list(range(1, 61))
    rng.shuffle(rest)
    found = Round(60)
    found.advertise()
    assert {len(found.roster.neighbours(phone)) for phone in found.phones} == {degree(60)} == {48}
    found.share(rest[:3])
    found.mask(rest[3:6])
    found.agree(rest[6:9])
    total = found.reveal(rest[9:11])
    assert np.array_equal(total, plain_sum(rest[6:]))


@pytest.mark.parametrize("stage", ["share", "mask", "agree", "reveal"])
def test_one_phone_too_few_at_any_stage_ends_the_round(stage: str) -> None:
    found = Round(9)  # everybody's secrets have 9 holders and a threshold of 6
    found.advertise()
    for each in ("share", "mask", "agree", "reveal"):
        if each != stage:
            getattr(found, each)()
            continue
        with pytest.raises(Abandoned, match="too few"):
            getattr(found, each)([1, 2, 3, 4])
        return


@pytest.mark.parametrize("stage", ["share", "mask", "agree", "reveal"])
def test_as_many_as_the_threshold_are_enough_at_every_stage(stage: str) -> None:
    found = driven(9, to="reveal", **{stage: [1, 2, 3]})
    expected = found.survivors
    assert np.array_equal(found.server.unmask(), plain_sum(expected))
    assert len(expected) == (9 if stage in ("agree", "reveal") else 6)


def test_with_too_few_reports_nothing_is_uncovered() -> None:
    found = Round(9, terms_of(min_reports=8))
    found.advertise()
    found.share()
    with pytest.raises(Abandoned, match="too few phones reported"):
        found.mask([1, 2])


def test_below_the_threshold_no_secret_can_be_put_together() -> None:
    found = Round(9)
    found.advertise()
    found.share()
    found.mask([9])
    found.agree()
    with pytest.raises(Abandoned, match="too few survivors"):
        found.reveal([1, 2, 3])
    for phone in range(1, 10):
        assert len(shares_about(phone, found.revealed)) < found.roster.threshold


def shares_about(phone: int, revealed: dict[int, Revealed]) -> dict[int, bytes]:
    return {
        helper: kind[phone]
        for helper, each in revealed.items()
        for kind in (each.seed_shares, each.key_shares)
        if phone in kind
    }


def test_nobody_tells_both_secrets_of_a_phone() -> None:
    found = driven(9, to="reveal", mask=[4, 5])
    for revealed in found.revealed.values():
        assert not revealed.seed_shares.keys() & revealed.key_shares.keys()
        assert revealed.key_shares.keys() == {4, 5}


@pytest.mark.parametrize("has_self_mask", [True, False])
def test_words_that_come_too_late_stay_hidden(has_self_mask: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is told the mask key of phone 4, then its words arrive: the self-mask still covers them."""
    found = driven(4, to="share")
    seed, keystream = found.phones[4].seed, masking.add_keystream
    if not has_self_mask:
        monkeypatch.setattr(
            masking, "add_keystream", lambda words, key, sign: key != seed and keystream(words, key, sign)
        )
    late = found.phones[4].mask(found.inboxes[4], lambda: words_of(4))
    found.mask([4])
    found.agree()
    found.reveal()
    shares = {found.roster.point(helper): share for helper, share in shares_about(4, found.revealed).items()}
    mask_key = X25519PrivateKey.from_private_bytes(combine(shares, found.roster.threshold))
    for neighbour in (1, 2, 3):  # phone 4 subtracted what its neighbours with smaller numbers add
        keystream(late, masking.pair_key(found.roster, mask_key, 4, neighbour), 1)
    assert np.array_equal(late, words_of(4)) == (not has_self_mask)


def test_masked_words_look_like_nothing_and_differ_every_time() -> None:
    seen = []
    for _ in range(2):
        found = driven(4, to="share")
        seen.append(found.phones[1].mask(found.inboxes[1], lambda: np.zeros(LENGTH, dtype=np.uint32)))
    assert not set(seen[0].tolist()) & {0, *seen[1].tolist()}


def test_the_keystream_takes_itself_off_across_chunks() -> None:
    words = np.arange(masking.CHUNK // 4 + 5, dtype=np.uint32)
    before = words.copy()
    masking.add_keystream(words, bytes(32), 1)
    assert (words == before).mean() < 0.001
    assert len(np.unique(words - before)) > len(words) * 0.99  # no part of the stream comes twice
    masking.add_keystream(words, bytes(32), -1)
    assert np.array_equal(words, before)


def test_the_keystream_is_chacha20s() -> None:
    """RFC 8439, A.1, test vector 1: the key, the counter and the nonce are zero."""
    words = np.zeros(4, dtype=np.uint32)
    masking.add_keystream(words, bytes(32), 1)
    assert words.astype("<u4").tobytes().hex() == "76b8e0ada0f13d90405d6ae55386bd28"


def test_drawn_bytes_are_the_systems_unless_given() -> None:
    drawn: list[int] = []

    def counted(num_bytes: int) -> bytes:
        drawn.append(num_bytes)
        return bytes([len(drawn)] * num_bytes)

    one, first = PhoneRound.begin(terms_of(), 1, IDENTITIES[1], counted)
    assert drawn == [32, 32]
    assert one.cipher_secret == bytes([1] * 32)
    assert (
        PhoneRound.begin(terms_of(), 1, IDENTITIES[1])[1] != PhoneRound.begin(terms_of(), 1, IDENTITIES[1])[1]
    )
    assert first.is_signed(terms_of(), REGISTRY)


def test_a_phone_in_a_round_prints_no_secret() -> None:
    found = driven(4, to="share")
    state = found.phones[1]
    for text in (repr(state), str(state), f"{found.server!r}"):
        for secret in (state.seed, state.mask_secret, state.cipher_secret, state.own_share):
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text


def test_secrets_are_forgotten_when_masks_are_made() -> None:
    found = driven(4, to="share")
    state = found.phones[1]
    assert state.seed
    assert state.mask_secret
    state.mask(found.inboxes[1], lambda: words_of(1))
    assert state.seed == state.mask_secret == b""


# What phones refuse.


def test_a_key_that_another_phone_signed_is_refused() -> None:
    found = driven(4, to="advertise")
    mine = PhoneRound.begin(found.terms, 3, IDENTITIES[2])[1]  # the server, or phone 2, poses as phone 3
    adverts = [mine if advert.phone == 3 else advert for advert in found.adverts]
    with pytest.raises(Refused, match="did not sign"):
        found.phones[1].share(adverts, REGISTRY)


def test_keys_of_another_round_run_or_agreement_are_refused() -> None:
    for other in (
        terms_of(round_number=6), terms_of(run="another"), terms_of(min_reports=3), terms_of(num_phones=59),
    ):  # fmt: skip
        found = driven(4, to="advertise")
        old = PhoneRound.begin(other, 3, IDENTITIES[3])[1]
        adverts = [old if advert.phone == 3 else advert for advert in found.adverts]
        with pytest.raises(Refused, match="did not sign"):
            found.phones[1].share(adverts, REGISTRY)


def test_a_phone_that_nobody_registered_is_refused() -> None:
    found = driven(4, to="advertise")
    stranger = Advert.sign(found.terms, 99, bytes(32), bytes(32), IDENTITIES[1])
    with pytest.raises(Refused, match="did not sign"):
        found.phones[1].share([*found.adverts, stranger], REGISTRY)


def test_a_roster_must_list_the_phone_itself_once_with_its_own_keys() -> None:
    for change in ("without", "with other keys", "twice"):
        found = driven(4, to="advertise")
        others = [advert for advert in found.adverts if advert.phone != 1]
        listed = {
            "without": others,
            "with other keys": [*others, PhoneRound.begin(found.terms, 1, IDENTITIES[1])[1]],
            "twice": [*found.adverts, found.adverts[0]],
        }[change]
        with pytest.raises(Refused, match=r"without this phone's keys|listed twice"):
            found.phones[1].share(listed, REGISTRY)


def test_a_crowd_outside_the_terms_is_refused() -> None:
    found = Round(5, terms_of(num_phones=4, min_reports=3))
    for phone in range(1, 6):
        found.phones[phone], advert = PhoneRound.begin(found.terms, phone, IDENTITIES[phone])
        found.server.add_advert(phone, advert)
    with pytest.raises(Abandoned, match="too many phones"):
        found.server.close_adverts()
    with pytest.raises(Refused, match="too few phones"):
        Roster(found.terms, adverts_of(2, found.terms))


def test_nobody_trains_whose_neighbours_did_not_share() -> None:
    found = driven(9, to="share")
    few = dict(list(found.inboxes[1].items())[:4])  # 5 holders of 9, the threshold is 6
    with pytest.raises(Refused, match="too few neighbours"):
        found.phones[1].mask(few, lambda: pytest.fail("it trained"))


def test_letters_from_strangers_are_refused() -> None:
    found = driven(4, to="share")
    with pytest.raises(Refused, match="strangers"):
        found.phones[1].mask({**found.inboxes[1], 50: bytes(82)}, lambda: pytest.fail("it trained"))


@pytest.mark.parametrize(
    ("survivors", "reason"),
    [
        ([1, 2, 3, 4, 5], "too few survivors"),
        ([2, 3, 4, 5, 6, 7, 8], "without this phone"),
        ([1, 2, 3, 4, 5, 6, 50], "strangers"),
        ([1, 2, 3, 4, 5, 6, 9], "shared no keys"),
    ],
)
def test_lists_that_a_phone_does_not_sign(survivors: list[int], reason: str) -> None:
    found = driven(9, to="share", share=[9])
    found.phones[1].mask(found.inboxes[1], lambda: words_of(1))
    with pytest.raises(Refused, match=reason):
        found.phones[1].agree(survivors, IDENTITIES[1])


def test_a_sum_over_fewer_phones_than_agreed_is_not_signed() -> None:
    found = Round(9, terms_of(min_reports=8))
    found.advertise()
    found.share()
    found.mask()
    with pytest.raises(Refused, match="too few survivors"):
        found.phones[1].agree(range(1, 8), IDENTITIES[1])


def test_two_lists_of_survivors_uncover_nothing() -> None:
    """A lying server shows some phones one list and the others another, to get both secrets of phone 9."""
    found = driven(9, to="mask")
    lists = {phone: found.survivors if phone <= 5 else found.survivors[:-1] for phone in range(1, 9)}
    signed = {phone: found.phones[phone].agree(lists[phone], IDENTITIES[phone]) for phone in lists}
    for phone in lists:
        with pytest.raises(Refused, match="too few neighbours agree"):
            found.phones[phone].reveal(signed, REGISTRY)


def test_the_signature_of_another_list_or_phone_does_not_count() -> None:
    found = driven(4, to="agree")  # a threshold of 3
    signatures = found.agreements[1]
    with pytest.raises(Refused, match="too few neighbours agree"):
        found.phones[1].reveal({2: signatures[3], 3: signatures[2], 4: signatures[4]}, REGISTRY)


def test_a_phone_answers_once_and_in_order() -> None:
    """After any answer, the same question or an earlier one is refused; and then every other, too."""

    def questions(found: Round) -> dict[str, object]:
        state = found.phones[1]
        return {
            "share": lambda: state.share(found.adverts, REGISTRY),
            "mask": lambda: state.mask(found.inboxes[1], lambda: words_of(1)),
            "agree": lambda: state.agree(found.survivors, IDENTITIES[1]),
            "reveal": lambda: state.reveal(found.agreements[1], REGISTRY),
        }

    stages = ["share", "mask", "agree", "reveal"]
    for at, stage in enumerate(stages):
        for again in stages[: at + 1]:
            found = driven(4, to=stage)
            asked = questions(found)
            with pytest.raises(Refused, match="out of turn"):
                asked[again]()  # type: ignore[operator]
            if at + 1 < len(stages):
                with pytest.raises(Refused, match="out of turn"):
                    asked[stages[at + 1]]()  # type: ignore[operator]


def test_a_phone_whose_training_failed_has_left_the_round() -> None:
    found = driven(4, to="share")

    def fails() -> Words:
        raise RuntimeError("the battery is empty")

    with pytest.raises(RuntimeError, match="battery"):
        found.phones[1].mask(found.inboxes[1], fails)
    with pytest.raises(Refused, match="out of turn"):
        found.phones[1].mask(found.inboxes[1], lambda: words_of(1))


def test_words_that_do_not_fit_the_terms_do_not_leave_the_phone() -> None:
    for words in (np.zeros(LENGTH + 1, dtype=np.uint32), np.zeros(LENGTH, dtype=np.int64)):
        found = driven(4, to="share")
        with pytest.raises(ValueError, match="does not fit"):
            found.phones[1].mask(found.inboxes[1], lambda words=words: words)


# What the server refuses.


def test_the_server_takes_no_key_that_its_phone_did_not_sign() -> None:
    server = ServerRound(terms_of(), REGISTRY, [1, 2, 3])
    with pytest.raises(Refused, match="did not sign"):
        server.add_advert(1, PhoneRound.begin(terms_of(), 1, IDENTITIES[2])[1])
    with pytest.raises(Refused, match="did not sign"):
        server.add_advert(1, PhoneRound.begin(terms_of(), 2, IDENTITIES[2])[1])
    with pytest.raises(Refused, match="nothing can be agreed"):
        server.add_advert(1, Advert.sign(terms_of(), 1, bytes(32), bytes(32), IDENTITIES[1]))
    with pytest.raises(Refused, match="nothing can be agreed"):
        server.add_advert(1, Advert.sign(terms_of(), 1, bytes(31), bytes(31), IDENTITIES[1]))
    with pytest.raises(Refused, match="nobody asked"):
        server.add_advert(4, PhoneRound.begin(terms_of(), 4, IDENTITIES[4])[1])


def test_the_server_takes_every_answer_once() -> None:
    found = driven(4, to="reveal")
    found_again = driven(4, to="advertise")
    letters = found_again.phones[1].share(found_again.adverts, REGISTRY)
    found_again.server.add_letters(1, letters)
    with pytest.raises(Refused, match="second answer"):
        found_again.server.add_letters(1, letters)
    with pytest.raises(Refused, match="second answer"):
        found.server.add_masked(1, words_of(1))
    with pytest.raises(Refused, match="second answer"):
        found.server.add_revealed(1, found.revealed[1])
    assert np.array_equal(found.server.unmask(), plain_sum([1, 2, 3, 4]))


def test_the_server_takes_only_letters_to_all_neighbours() -> None:
    for change in ("one less", "short"):
        found = driven(4, to="advertise")
        letters = found.phones[1].share(found.adverts, REGISTRY)
        sealed = dict(letters.sealed)
        if change == "one less":
            del sealed[2]
        else:
            sealed[2] = sealed[2][:-1]
        with pytest.raises(Refused, match="letters"):
            found.server.add_letters(1, Letters(letters.seed_digest, sealed))


def test_the_server_adds_only_words_of_the_right_shape() -> None:
    found = driven(4, to="share")
    for words in (np.zeros(LENGTH - 1, dtype=np.uint32), np.zeros(LENGTH, dtype=np.float32)):
        with pytest.raises(Refused, match="wrong shapes"):
            found.server.add_masked(1, words)
    found.mask()
    found.agree()
    assert np.array_equal(found.reveal(), plain_sum([1, 2, 3, 4]))


def test_a_letter_sent_back_to_its_writer_is_not_read() -> None:
    """The server gives phone 1 its own letter to phone 2 as if it came from there: each way has a key."""
    found = driven(4, to="advertise")
    letters = {phone: found.phones[phone].share(found.adverts, REGISTRY) for phone in (1, 2, 3, 4)}
    for phone in letters:
        found.server.add_letters(phone, letters[phone])
    found.inboxes = found.server.close_letters()
    found.inboxes[1][2] = letters[1].sealed[2]
    found.mask()
    found.agree()
    assert np.array_equal(found.reveal(), plain_sum([1, 2, 3, 4]))
    assert found.revealed[1].seed_shares.keys() == {1, 3, 4}


def test_forged_shares_are_noticed() -> None:
    for kind in ("seed", "key"):
        found = driven(4, to="agree", mask=[4])
        for phone in (1, 2, 3):
            revealed = found.phones[phone].reveal(found.agreements[phone], REGISTRY)
            if phone == 1 and kind == "seed":
                revealed.seed_shares[2] = bytes(33)
            if phone == 1 and kind == "key":
                revealed.key_shares[4] = bytes(33)
            found.server.add_revealed(phone, revealed)
        with pytest.raises(Abandoned, match="do not fit together"):
            found.server.unmask()


def test_a_phone_cannot_give_what_nobody_asked_for() -> None:
    """The mask key of a phone on the list, or the seed of one that vanished: its other secret."""
    for kind in ("key", "seed"):
        found = driven(4, to="agree", mask=[4])
        revealed = found.phones[1].reveal(found.agreements[1], REGISTRY)
        if kind == "key":
            revealed.key_shares[2] = bytes(33)
        else:
            revealed.seed_shares[4] = bytes(33)
        with pytest.raises(Refused, match="nobody asked for"):
            found.server.add_revealed(1, revealed)


def test_an_unreadable_letter_costs_only_itself() -> None:
    """Phone 2 writes nonsense to phone 1: the others' shares are enough."""
    found = driven(4, to="advertise")
    for phone in (1, 2, 3, 4):
        letters = found.phones[phone].share(found.adverts, REGISTRY)
        if phone == 2:
            letters.sealed[1] = bytes(len(letters.sealed[1]))
        found.server.add_letters(phone, letters)
    found.inboxes = found.server.close_letters()
    found.mask()
    found.agree()
    assert np.array_equal(found.reveal(), plain_sum([1, 2, 3, 4]))
    assert found.revealed[1].seed_shares.keys() == {1, 3, 4}


def test_what_the_server_can_put_together_is_one_secret_of_each_phone() -> None:
    """With all it was given, and with nothing else, the server has no secret key of a phone in the total."""
    found = driven(9, to="share")
    keys = {phone: state.mask_secret for phone, state in found.phones.items()}
    seeds = {phone: state.seed for phone, state in found.phones.items()}
    found.mask([9])
    found.agree()
    found.reveal()
    for phone in range(1, 10):
        shares = {
            found.roster.point(helper): share for helper, share in shares_about(phone, found.revealed).items()
        }
        secret = combine(shares, found.roster.threshold)
        assert secret == (keys[9] if phone == 9 else seeds[phone])
