"""Who takes part in a round of secure aggregation, under which terms, and who masks against whom.

In: the round's terms and the public keys that phones advertise, each signed by its phone. Out: the roster,
from which every phone and the server draw the same graph of neighbours and the same threshold. Next stop:
`fedkey_server.masking`.

The graph follows Bell et al. (2020): phones stand on a ring in an order that nobody can choose alone (hashes
over everybody's fresh keys), and each is neighbour to the next `degree / 2` on either side.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedkey_server.quantisation import Quantiser, Sum

Registry = Mapping[int, bytes]
"""Phone -> its long-term Ed25519 public key, 32 raw bytes. Whoever fills it decides who is a phone."""


class Refused(Exception):
    """A message that the protocol does not allow."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        """A few words, by which refusals are counted."""
        self.detail = detail


@dataclass(frozen=True)
class Terms:
    """What everybody in a round must agree on; every signature and every key of the round depends on it."""

    run: str
    round_number: int
    min_reports: int
    """The sum of fewer phones is never uncovered."""
    quantiser: Quantiser

    def __post_init__(self) -> None:
        if self.min_reports < 2:
            raise ValueError(f"min_reports must be at least 2, or a sum is one phone's: {self.min_reports}")
        most = self.quantiser.max_phones
        if self.min_reports > most:
            raise ValueError(f"min_reports {self.min_reports} is more than the {most} phones of a round")

    @cached_property
    def digest(self) -> bytes:
        """Stands for the terms wherever they are bound."""
        return digest("terms", self.to_json())

    def to_json(self) -> str:
        """The terms as they travel."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Terms:
        """The inverse of `to_json`.

        Raises:
            Refused: this is not what `to_json` writes, or makes no sense.
        """
        try:
            fields = json.loads(text)
            quantiser = fields.pop("quantiser")
            sums = tuple(Sum(*each) for each in quantiser.pop("sums"))
            return cls(quantiser=Quantiser(**quantiser, sums=sums), **fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused("terms that make no sense") from error


def digest(*parts: str | bytes | int) -> bytes:
    """SHA-256 over parts that cannot run into each other; the first names the purpose."""
    found = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        found.update(len(data).to_bytes(8) + data)
    return found.digest()


class Advert(NamedTuple):
    """A phone's public keys for one round."""

    phone: int
    cipher_key: bytes
    """X25519; letters to the phone are sealed with it."""
    mask_key: bytes
    """X25519; masks are agreed with it."""
    signature: bytes
    """By the phone's long-term key."""

    @classmethod
    def sign(
        cls, terms: Terms, phone: int, cipher_key: bytes, mask_key: bytes, identity: Ed25519PrivateKey
    ) -> Advert:
        """The advert that `is_signed` accepts."""
        signature = identity.sign(digest("advert", terms.digest, phone, cipher_key, mask_key))
        return cls(phone, cipher_key, mask_key, signature)

    def is_signed(self, terms: Terms, registry: Registry) -> bool:
        """Whether the phone itself made this advert for these terms."""
        said = digest("advert", terms.digest, self.phone, self.cipher_key, self.mask_key)
        return is_by(self.phone, self.signature, said, registry)


def is_by(phone: int, signature: bytes, said: bytes, registry: Registry) -> bool:
    """Whether a registered phone signed `said`."""
    return phone in registry and _verifies(registry[phone], signature, said)


@lru_cache(maxsize=1 << 14)
def _verifies(key: bytes, signature: bytes, said: bytes) -> bool:
    """Remembered, because a simulation's phones all check the same signatures, in one process."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, said)
    except (ValueError, InvalidSignature):
        return False
    return True


def degree(num_phones: int) -> int:
    """How many neighbours a phone has.

    All others up to 47 phones, beyond that 8 * log2(num_phones), made even: 54 of 100, 80 of 1,000, 108 of
    10,000. By the hypergeometric distribution, with the threshold of 2/3: of 1,000 phones 10 % may vanish
    after sharing their keys, and the round is lost with probability 2e-7 (15 %: 3e-3); 10 % may collude with
    a lying server, which then finds somebody whose two secrets it can get with 1e-6. With a factor of 6 these
    are 6e-5 and 6e-5.
    """
    return min(num_phones - 1, 2 * math.ceil(4 * math.log2(num_phones)))


class Roster:
    """The phones of a round and their graph.

    Raises:
        Refused: these phones cannot make a round under these terms.
    """

    def __init__(self, terms: Terms, adverts: Iterable[Advert]) -> None:
        listed = sorted(adverts)
        self.adverts = {advert.phone: advert for advert in listed}
        if len(self.adverts) < len(listed):
            raise Refused("a phone is listed twice")
        if len(listed) < terms.min_reports:
            raise Refused("too few phones")
        if len(listed) > terms.quantiser.max_phones:
            raise Refused("too many phones")
        self.digest = digest("roster", terms.digest, *(part for advert in listed for part in advert))
        self.degree = degree(len(listed))
        self.threshold = math.ceil(2 * (self.degree + 1) / 3)
        """Of a secret's holders, who are the phone and its neighbours: as many must help to uncover it.

        More than half, so that both secrets of a phone take more helpers than there are if each gives one.
        And as long as less than a third of anybody's neighbours are gone, no gap in the ring is wider than
        `degree / 2`: masks tie all survivors together, and no part of their sum can be told from the rest.
        """
        self._is_complete = self.degree == len(listed) - 1
        self._ring = sorted(self.adverts, key=lambda phone: digest("ring", self.digest, phone))
        self._place = {phone: place for place, phone in enumerate(self._ring)}
        self._point = {phone: point for point, phone in enumerate(self.adverts, 1)}

    def __len__(self) -> int:
        return len(self.adverts)

    def neighbours(self, phone: int) -> frozenset[int]:
        """The phones that `phone` masks against and shares its secrets among."""
        if self._is_complete:
            return frozenset(self.adverts) - {phone}
        place, reach = self._place[phone], self.degree // 2
        steps = (*range(-reach, 0), *range(1, reach + 1))
        return frozenset(self._ring[(place + step) % len(self._ring)] for step in steps)

    def holders(self, phone: int) -> frozenset[int]:
        """The phones that hold a share of `phone`'s secrets: its neighbours and itself."""
        return self.neighbours(phone) | {phone}

    def point(self, phone: int) -> int:
        """Where `phone` stands in every sharing."""
        return self._point[phone]
