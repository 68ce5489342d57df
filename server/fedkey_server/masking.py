"""Secure aggregation as mathematics: a phone's side and the server's, without messages.

In: quantised updates. Out: masked words, of which only the total over enough phones can be uncovered. Next
stop: `fedkey_server.secure_sum`.

The protocol is Bonawitz et al. (2017) with signed keys and the consistency check, over the graph of Bell et
al. (2020). One round, one method on either side for each stage:

    advertise  a phone draws two X25519 keys and signs them; the server passes them on
    share      a phone checks all signatures, draws the seed of its self-mask, and gives each neighbour a
               sealed letter with a share of that seed and a share of its mask key
    mask       a phone trains, adds its self-mask and, for each neighbour who shared, a mask that the
               neighbour subtracts; only now does anything of its text leave it, under masks
    agree      a phone signs the list of those whose words arrived
    reveal     once enough of its neighbours signed the same list, a phone gives for each neighbour on it the
               share of the seed, for each who vanished the share of the mask key: never both for one phone

With that the server takes off the self-masks of the phones that are in the total, and the masks that vanished
phones left behind. Nobody is asked twice; who is asked out of turn, or for something that the protocol does
not allow, refuses and has left the round. Phones trust the registry with who is a phone, and the server with
nothing but going on: as long as fewer than a third of a phone's neighbours help a lying server, it learns
sums of at least `min_reports` phones only.

What this does not do: a phone that sends nonsense spoils the total, within what `Quantiser.decode` lets pass.
And a sum is still a function of what is in it: two sums, one with a phone and one without, differ by that
phone's part, as far as all others answer alike both times. Masks alone are no privacy against who compares
sums (Ngo et al. 2024, 2403.17775); noise is (`privacy.mode`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedkey_server.quantisation import Words
from fedkey_server.roster import Advert, Refused, Registry, Roster, Terms, digest, is_by
from fedkey_server.shamir import SECRET_BYTES, SHARE_BYTES, RandomBytes, combine, split

ADVERTISE, SHARE, MASK, AGREE, REVEAL, OVER = "advertise", "share", "mask", "agree", "reveal", "over"

LETTER_BYTES = 2 * SHARE_BYTES + 16
"""Two shares and the tag of the cipher."""

NONCE = bytes(12)
"""Every letter has a key of its own."""

CHUNK = 1 << 18
"""Bytes of keystream made at a time: they stay in the cache between cipher and addition."""

ZEROS = bytes(CHUNK)


class Letters(NamedTuple):
    """What a phone sends when it shares its secrets."""

    seed_digest: bytes
    """By which the server knows the right seed when it has combined the shares."""
    sealed: dict[int, bytes]
    """Neighbour -> two shares that only it can read."""


class Revealed(NamedTuple):
    """What a phone gives away at the end."""

    seed_shares: dict[int, bytes]
    """Phone on the list -> the share of the seed of its self-mask."""
    key_shares: dict[int, bytes]
    """Phone that vanished -> the share of its mask key."""


class Abandoned(Exception):
    """The round cannot be finished; nothing of it was or will be uncovered."""


TOO_FEW_HELPERS = "too few survivors to take the masks off"
FORGED_SHARES = "shares that do not fit together"


@dataclass(repr=False, eq=False)
class PhoneRound:
    """One phone in one round, from `begin` to `reveal`. Full of secrets: print it and you see none."""

    terms: Terms
    phone: int
    turn: str
    """The stage that may come next."""
    cipher_secret: bytes
    mask_secret: bytes
    """Forgotten once masks are made."""
    own_share: bytes = b""
    """Of the seed of the own self-mask."""
    seed: bytes = b""
    """Of the self-mask; forgotten once it is made."""
    adverts: tuple[Advert, ...] = ()
    inbox: dict[int, bytes] = field(default_factory=dict)
    """Neighbour -> its sealed letter; with these a mask was agreed."""
    survivors: tuple[int, ...] = ()
    """The list that this phone signed."""

    @classmethod
    def begin(
        cls,
        terms: Terms,
        phone: int,
        identity: Ed25519PrivateKey,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> tuple[PhoneRound, Advert]:
        """Draws the round's keys."""
        state = cls(terms, phone, SHARE, random_bytes(SECRET_BYTES), random_bytes(SECRET_BYTES))
        keys = _public(state.cipher_secret), _public(state.mask_secret)
        return state, Advert.sign(terms, phone, *keys, identity)

    def share(
        self, adverts: Iterable[Advert], registry: Registry, random_bytes: RandomBytes = secrets.token_bytes
    ) -> Letters:
        """Believes in the others' keys, or refuses; then shares the own secrets among the neighbours."""
        self._take_turn(SHARE)
        self.adverts = tuple(adverts)
        if not all(advert.is_signed(self.terms, registry) for advert in self.adverts):
            raise Refused("a key that its phone did not sign")
        roster = self._roster()
        own = roster.adverts.get(self.phone)
        if own is None or own[1:3] != (_public(self.cipher_secret), _public(self.mask_secret)):
            raise Refused("a roster without this phone's keys")
        self.seed = random_bytes(SECRET_BYTES)
        own_key = X25519PrivateKey.from_private_bytes(self.cipher_secret)
        holders = sorted(roster.holders(self.phone))
        points = [roster.point(holder) for holder in holders]
        seed_shares = split(self.seed, points, roster.threshold, random_bytes)
        key_shares = split(self.mask_secret, points, roster.threshold, random_bytes)
        sealed = {}
        for holder, seed_share, key_share in zip(holders, seed_shares, key_shares, strict=True):
            if holder == self.phone:
                self.own_share = seed_share
            else:
                cipher = _letter_cipher(roster, own_key, self.phone, holder, holder)
                sealed[holder] = cipher.encrypt(NONCE, seed_share + key_share, None)
        self.turn = MASK
        return Letters(_seed_digest(roster, self.phone, self.seed), sealed)

    def mask(self, inbox: Mapping[int, bytes], train: Callable[[], Words]) -> Words:
        """The words that `train` returns, masked in place; nobody trains whose masks nobody could take off.

        Args:
            inbox: neighbour -> its letter to this phone.
        """
        self._take_turn(MASK)
        roster = self._roster()
        if not inbox.keys() <= roster.neighbours(self.phone):
            raise Refused("letters from strangers")
        if len(inbox) + 1 < roster.threshold:
            raise Refused("too few neighbours shared their keys")
        self.inbox = dict(inbox)
        words = train()
        if words.shape != (self.terms.quantiser.length,) or words.dtype != np.uint32:
            raise ValueError("what was to be masked does not fit the round's terms")
        add_keystream(words, self.seed, 1)
        own_key = X25519PrivateKey.from_private_bytes(self.mask_secret)
        for neighbour in self.inbox:
            key = pair_key(roster, own_key, self.phone, neighbour)
            add_keystream(words, key, _sign(self.phone, neighbour))
        self.seed = self.mask_secret = b""
        self.turn = AGREE
        return words

    def agree(self, survivors: Iterable[int], identity: Ed25519PrivateKey) -> bytes:
        """Signs the list of the phones whose words arrived, if its sum may be uncovered."""
        self._take_turn(AGREE)
        self.survivors = tuple(sorted(set(survivors)))
        roster, listed = self._roster(), set(self.survivors)
        if self.phone not in listed or not listed <= roster.adverts.keys():
            raise Refused("a list without this phone, or with strangers")
        if not (listed & roster.neighbours(self.phone)) <= self.inbox.keys():
            raise Refused("a list with a neighbour who shared no keys")
        if (
            len(listed) < self.terms.min_reports
            or len(listed & roster.holders(self.phone)) < roster.threshold
        ):
            raise Refused("too few survivors")
        self.turn = REVEAL
        return identity.sign(_agreement(roster, self.survivors))

    def reveal(self, agreements: Mapping[int, bytes], registry: Registry) -> Revealed:
        """One share for each neighbour, once enough holders of this phone's secrets signed its list."""
        self._take_turn(REVEAL)
        roster = self._roster()
        said = _agreement(roster, self.survivors)
        agreeing = {self.phone} | {
            neighbour
            for neighbour in roster.neighbours(self.phone) & set(self.survivors)
            if is_by(neighbour, agreements.get(neighbour, b""), said, registry)
        }
        if len(agreeing) < roster.threshold:
            raise Refused("too few neighbours agree on who survived")
        own_key = X25519PrivateKey.from_private_bytes(self.cipher_secret)
        revealed = Revealed({self.phone: self.own_share}, {})
        for neighbour, sealed in self.inbox.items():
            try:
                cipher = _letter_cipher(roster, own_key, neighbour, self.phone, neighbour)
                opened = cipher.decrypt(NONCE, sealed, None)
            except InvalidTag:
                continue  # it was not sealed for this round by that neighbour: there is nothing to give
            if neighbour in self.survivors:
                revealed.seed_shares[neighbour] = opened[:SHARE_BYTES]
            else:
                revealed.key_shares[neighbour] = opened[SHARE_BYTES:]
        return revealed

    def _take_turn(self, stage: str) -> None:
        """Whoever fails in a stage never gets to the next."""
        turn, self.turn = self.turn, OVER
        if turn != stage:
            raise Refused("asked out of turn")

    def _roster(self) -> Roster:
        return _roster_of(self.terms, self.adverts)


class ServerRound:
    """The server in one round: for each stage, `add_...` what phones send, then close the stage.

    `add_...` raises `Refused` for what is of no use; closing raises `Abandoned` when too few phones are left.

    Args:
        phones: who is invited.
    """

    def __init__(self, terms: Terms, registry: Registry, phones: Collection[int]) -> None:
        self.terms = terms
        self._registry = registry
        self._asked: Container[int] = frozenset(phones)
        """Who may answer in the present stage."""
        self._adverts: dict[int, Advert] = {}
        self._letters: dict[int, Letters] = {}
        self._total = np.zeros(terms.quantiser.length, dtype=np.uint32)
        self._reporters: set[int] = set()
        self._agreements: dict[int, bytes] = {}
        self._revealed: dict[int, Revealed] = {}

    def add_advert(self, phone: int, advert: Advert) -> None:
        """Takes a phone's keys."""
        self._check_turn(phone, self._adverts)
        if advert.phone != phone or not advert.is_signed(self.terms, self._registry):
            raise Refused("a key that its phone did not sign")
        try:
            for key in (advert.cipher_key, advert.mask_key):
                X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
        except ValueError as error:  # one such key would make every neighbour fail
            raise Refused("a key with which nothing can be agreed") from error
        self._adverts[phone] = advert

    def close_adverts(self) -> tuple[Advert, ...]:
        """Everybody's keys, for everybody."""
        try:
            self._roster = Roster(self.terms, self._adverts.values())
        except Refused as error:
            raise Abandoned(str(error)) from error
        self._asked = self._roster.adverts
        return tuple(self._roster.adverts.values())

    def add_letters(self, phone: int, letters: Letters) -> None:
        """Takes a phone's sealed shares."""
        self._check_turn(phone, self._letters)
        if letters.sealed.keys() != self._roster.neighbours(phone):
            raise Refused("letters to others than its neighbours")
        if {len(sealed) for sealed in letters.sealed.values()} != {LETTER_BYTES}:
            raise Refused("letters of the wrong size")
        self._letters[phone] = letters

    def close_letters(self) -> dict[int, dict[int, bytes]]:
        """Phone -> its inbox, for each phone that shared."""
        sharers = self._letters.keys()
        # A phone with too few neighbours left cannot be helped once it vanishes. Going on without it would
        # take a neighbour from those beside it on the ring, who have hardly more of them left.
        if len(sharers) < self.terms.min_reports or any(
            len(self._roster.holders(phone) & sharers) < self._roster.threshold for phone in sharers
        ):
            raise Abandoned("too few phones shared their keys")
        self._asked = sharers
        return {
            phone: {
                sender: self._letters[sender].sealed[phone]
                for sender in sorted(self._roster.neighbours(phone) & sharers)
            }
            for phone in sorted(sharers)
        }

    def add_masked(self, phone: int, words: Words) -> None:
        """Adds a phone's masked words to the total."""
        self._check_turn(phone, self._reporters)
        if words.shape != self._total.shape or words.dtype != np.uint32:
            raise Refused("wrong shapes")
        self._reporters.add(phone)
        self._total += words

    def close_masked(self) -> tuple[int, ...]:
        """The phones that are in the total."""
        if len(self._reporters) < self.terms.min_reports:
            raise Abandoned("too few phones reported")
        self._check_helpers(self._reporters)
        self._asked = self._reporters
        return tuple(sorted(self._reporters))

    def add_agreement(self, phone: int, signature: bytes) -> None:
        """Takes a phone's signature under the list of survivors."""
        self._check_turn(phone, self._agreements)
        said = _agreement(self._roster, tuple(sorted(self._reporters)))
        if not is_by(phone, signature, said, self._registry):
            raise Refused("a list that the phone did not sign")
        self._agreements[phone] = signature

    def close_agreements(self) -> dict[int, dict[int, bytes]]:
        """Phone -> its neighbours' signatures, for each phone that will speak."""
        heard = {}
        for phone in self._agreements:
            neighbours = sorted(self._roster.neighbours(phone) & self._agreements.keys())
            if len(neighbours) + 1 >= self._roster.threshold:
                heard[phone] = {neighbour: self._agreements[neighbour] for neighbour in neighbours}
        self._check_helpers(heard.keys())
        self._asked = heard
        return heard

    def add_revealed(self, phone: int, revealed: Revealed) -> None:
        """Takes the shares that a phone gives."""
        self._check_turn(phone, self._revealed)
        asked = self._roster.holders(phone)
        if not (
            revealed.seed_shares.keys() <= asked & self._reporters
            and revealed.key_shares.keys() <= asked & self._vanished()
        ):
            raise Refused("shares that nobody asked for")
        shares = [*revealed.seed_shares.values(), *revealed.key_shares.values()]
        if {len(share) for share in shares} != {SHARE_BYTES}:
            raise Refused("shares of the wrong size")
        self._revealed[phone] = revealed

    def unmask(self) -> Words:
        """The total without masks: the sum of the reporters' words."""
        seeds = [self._seed(phone) for phone in self._reporters]
        secrets_of_vanished = {phone: self._mask_secret(phone) for phone in self._vanished()}
        total = self._total.copy()
        for seed in seeds:
            add_keystream(total, seed, -1)
        for phone, secret in secrets_of_vanished.items():
            # What the vanished phone would have added, had it come.
            own_key = X25519PrivateKey.from_private_bytes(secret)
            for neighbour in self._roster.neighbours(phone) & self._reporters:
                key = pair_key(self._roster, own_key, phone, neighbour)
                add_keystream(total, key, _sign(phone, neighbour))
        return total

    def _check_turn(self, phone: int, heard: Container[int]) -> None:
        if phone not in self._asked:
            raise Refused("an answer that nobody asked for")
        if phone in heard:
            raise Refused("a second answer")

    def _vanished(self) -> set[int]:
        """Phones against whom reporters masked, and who are not in the total themselves."""
        absent = self._letters.keys() - self._reporters
        return {phone for phone in absent if self._roster.neighbours(phone) & self._reporters}

    def _check_helpers(self, helpers: Set[int]) -> None:
        for phone in self._reporters | self._vanished():
            if len(self._roster.holders(phone) & helpers) < self._roster.threshold:
                raise Abandoned(TOO_FEW_HELPERS)

    def _seed(self, phone: int) -> bytes:
        helpers = self._roster.holders(phone) & self._revealed.keys()
        given = {helper: self._revealed[helper].seed_shares.get(phone) for helper in helpers}
        seed = self._combined(given)
        if _seed_digest(self._roster, phone, seed) != self._letters[phone].seed_digest:
            raise Abandoned(FORGED_SHARES)
        return seed

    def _mask_secret(self, phone: int) -> bytes:
        helpers = self._roster.neighbours(phone) & self._revealed.keys()
        given = {helper: self._revealed[helper].key_shares.get(phone) for helper in helpers}
        secret = self._combined(given)
        if _public(secret) != self._roster.adverts[phone].mask_key:
            raise Abandoned(FORGED_SHARES)
        return secret

    def _combined(self, given: Mapping[int, bytes | None]) -> bytes:
        shares = {self._roster.point(helper): share for helper, share in given.items() if share is not None}
        if len(shares) < self._roster.threshold:
            raise Abandoned(TOO_FEW_HELPERS)
        try:
            return combine(shares, self._roster.threshold)
        except ValueError as error:
            raise Abandoned(FORGED_SHARES) from error


@lru_cache(maxsize=4)
def _roster_of(terms: Terms, adverts: tuple[Advert, ...]) -> Roster:
    """A simulation's phones all see the same roster, in one process."""
    return Roster(terms, adverts)


def add_keystream(words: Words, key: bytes, sign: int) -> None:
    """Adds the ChaCha20 keystream of `key` to `words`, or subtracts it; a key makes one stream only.

    ChaCha20 rather than AES-CTR: phones without AES instructions run it as fast and in constant time.
    """
    encryptor = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    block = bytearray(CHUNK)
    for start in range(0, len(words), CHUNK // 4):
        part = words[start : start + CHUNK // 4]
        encryptor.update_into(memoryview(ZEROS)[: 4 * len(part)], block)
        stream = np.frombuffer(block, dtype="<u4", count=len(part))
        if sign > 0:
            part += stream
        else:
            part -= stream


def pair_key(roster: Roster, own_key: X25519PrivateKey, phone: int, neighbour: int) -> bytes:
    """The key of the mask that `phone`, whose mask key this is, and `neighbour` have in common."""
    purpose = digest("mask", roster.digest, min(phone, neighbour), max(phone, neighbour))
    return _agreed(own_key, roster.adverts[neighbour].mask_key, purpose)


def _sign(phone: int, neighbour: int) -> int:
    """Of two neighbours one adds their mask and the other subtracts it."""
    return 1 if phone < neighbour else -1


def _public(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def _letter_cipher(
    roster: Roster, own_key: X25519PrivateKey, sender: int, receiver: int, other: int
) -> ChaCha20Poly1305:
    """Seals and opens the one letter from sender to receiver; `other` is the one whose key this is not."""
    purpose = digest("letter", roster.digest, sender, receiver)
    return ChaCha20Poly1305(_agreed(own_key, roster.adverts[other].cipher_key, purpose))


def _agreed(own_key: X25519PrivateKey, public: bytes, purpose: bytes) -> bytes:
    """A key of 32 bytes that only the two owners can derive, for one purpose."""
    exchanged = own_key.exchange(X25519PublicKey.from_public_bytes(public))
    return HKDF(SHA256(), 32, salt=None, info=purpose).derive(exchanged)


def _seed_digest(roster: Roster, phone: int, seed: bytes) -> bytes:
    return digest("seed", roster.digest, phone, seed)


def _agreement(roster: Roster, survivors: tuple[int, ...]) -> bytes:
    """What a phone signs to say who survived."""
    return digest("survivors", roster.digest, *survivors)
