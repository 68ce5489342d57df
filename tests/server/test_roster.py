"""Who takes part in a round: terms, signed keys, and the graph of neighbours."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey_server.quantisation import Quantiser, Sum
from fedkey_server.roster import Advert, Refused, Roster, Terms, degree, digest

IDENTITIES = {phone: Ed25519PrivateKey.from_private_bytes(bytes([phone] * 32)) for phone in range(1, 101)}
REGISTRY = {phone: identity.public_key().public_bytes_raw() for phone, identity in IDENTITIES.items()}
TERMS = Terms("a run", 7, 2, Quantiser(1.0, 8, max_phones=100, sums=(Sum("targets", 1000),)))


def adverts_of(num_phones: int) -> list[Advert]:
    return [
        Advert.sign(TERMS, phone, bytes([phone] * 32), bytes(32), IDENTITIES[phone])
        for phone in range(1, num_phones + 1)
    ]


def test_terms_survive_their_travel_and_nonsense_is_refused() -> None:
    assert Terms.from_json(TERMS.to_json()) == TERMS
    assert Terms.from_json(TERMS.to_json()).digest == TERMS.digest
    for text in (
        "",
        "[]",
        "{}",
        '{"quantiser": {"sums": []}}',
        TERMS.to_json().replace('"min_reports": 2', '"min_reports": 1'),
    ):
        with pytest.raises(Refused, match="make no sense"):
            Terms.from_json(text)


@settings(max_examples=30)
@given(st.integers(2, 100))
def test_being_neighbours_is_mutual(num_phones: int) -> None:
    roster = Roster(TERMS, adverts_of(num_phones))
    for phone in roster.adverts:
        neighbours = roster.neighbours(phone)
        assert len(neighbours) == degree(num_phones)
        assert phone not in neighbours
        assert all(phone in roster.neighbours(neighbour) for neighbour in neighbours)
    assert 2 * roster.threshold > degree(num_phones) + 1


def test_nobody_can_know_the_ring_before_the_last_key() -> None:
    adverts = adverts_of(60)
    last = Advert.sign(TERMS, 60, bytes([1] * 32), bytes(32), IDENTITIES[60])
    before = Roster(TERMS, adverts).neighbours(1)
    assert before != Roster(TERMS, [*adverts[:-1], last]).neighbours(1)


def test_up_to_47_phones_everybody_is_a_neighbour_of_everybody() -> None:
    assert [degree(num_phones) for num_phones in (2, 3, 46, 47, 48, 49)] == [1, 2, 45, 46, 46, 46]
    assert [degree(num_phones) for num_phones in (100, 1000, 10_000)] == [54, 80, 108]
    assert all(degree(num_phones) % 2 == 0 for num_phones in range(48, 2000))


@settings(max_examples=50)
@given(st.integers(48, 100), st.randoms(use_true_random=False))
def test_while_everybody_has_enough_neighbours_masks_tie_the_survivors_together(
    num_phones: int, rng: random.Random
) -> None:
    roster = Roster(TERMS, adverts_of(num_phones))
    survivors = set(rng.sample(range(1, num_phones + 1), rng.randint(1, num_phones)))
    while any(len(roster.holders(phone) & survivors) < roster.threshold for phone in survivors):
        survivors = {p for p in survivors if len(roster.holders(p) & survivors) >= roster.threshold}
    reached: set[int] = set()
    edge = set(list(survivors)[:1])
    while edge:
        reached |= edge
        edge = {neighbour for phone in edge for neighbour in roster.neighbours(phone) & survivors} - reached
    assert reached == survivors


def test_an_advert_holds_for_its_phone_its_keys_and_its_terms() -> None:
    advert = adverts_of(1)[0]
    assert advert.is_signed(TERMS, REGISTRY)
    for other in (
        advert._replace(phone=2),
        advert._replace(cipher_key=bytes(32)),
        advert._replace(mask_key=bytes([1] * 32)),
        advert._replace(cipher_key=advert.mask_key, mask_key=advert.cipher_key),
        advert._replace(signature=bytes(64)),
        advert._replace(signature=b""),
        advert._replace(phone=1000),
    ):
        assert not other.is_signed(TERMS, REGISTRY), other
    for terms in (
        replace(TERMS, run="another"),
        replace(TERMS, round_number=8),
        replace(TERMS, min_reports=3),
    ):
        assert not advert.is_signed(terms, REGISTRY)
    assert not advert.is_signed(TERMS, {1: b"no key"})


@pytest.mark.parametrize(("min_reports", "reason"), [(1, "one phone's"), (101, "more than the 100 phones")])
def test_terms_under_which_nothing_is_hidden_or_possible(min_reports: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(TERMS, min_reports=min_reports)


def test_the_parts_of_a_digest_cannot_run_into_each_other() -> None:
    digests = {
        digest(*parts) for parts in (("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ("a", "bc", ""))
    }
    assert len(digests) == 5
    assert digest("a", 12, 3) != digest("a", 1, 23)
