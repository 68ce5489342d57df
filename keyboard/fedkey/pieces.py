"""SentencePiece, one unit at a time.

In: messages or units of `fedkey.text`, and a `tokenizer.model`. Out: piece ids and back. Next stop:
`fedkey_server.tokenizer` (which trains the model file) and `fedkey.model` (which runs on the ids).

Each unit is encoded alone, and the tokenizer is trained with `treat_whitespace_as_suffix`, so the last piece
of a unit ends in U+2581 and a word has one segmentation wherever it stands: its probability is the plain
product over its pieces. (Encoding whole messages breaks this: "thanks," and "thanks see" segment
differently.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedkey.errors import UserError
from fedkey.text import FLIP, PLACEHOLDERS, SPECIAL_UNITS, join, split

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PAD_ID, START_ID, END_ID, UNKNOWN_ID = 0, 1, 2, 3
"""Padding, message start, message end; the unknown piece exists only because SentencePiece demands one."""

UNIT_END = "\u2581"

BEHIND_PIECE, HERE_PIECE, BLANK_PIECE = "<0xFF>", "<0xFE>", "<0xFD>"
"""Bytes that UTF-8 never has, so that every tokenizer with byte fallback holds their pieces and no text uses
them: what stands behind the caret follows; the caret is here; a piece is hidden here."""

MOST_BEHIND = 32
"""Pieces of what stands behind the caret that are read at most, in training as on the phone: a quarter of
the window, and some 20 words."""

_REMEDY = "copy it from where it is whole, or prepare the data again"


def _refusal(path: Path | None, what: str, remedy: str = "") -> UserError:
    """What is wrong with a tokenizer: of a file, which is named, or of a bundle, as its format says it."""
    if path is None:
        return UserError(f"The tokenizer {what}{remedy}.")
    return UserError(f"The tokenizer {path} {what}; {_REMEDY}.")


class Pieces:
    """Encodes units to piece ids and decodes ids to text. Thread-safe; caches what it has encoded."""

    def __init__(self, model: bytes, path: Path | None = None) -> None:
        """Opens a serialised SentencePiece model; `UserError` if it is none or was not trained for fedkey,
        which names the file if `path` says which it was."""
        # Here, because the keyboard is drawn before it needs any pieces.
        import numpy as np
        import sentencepiece

        self.serialised = model
        try:
            # Of no bytes at all SentencePiece makes a processor that answers every call with a complaint.
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model or b"none")
        except (RuntimeError, TypeError) as error:
            raise _refusal(path, "is not a SentencePiece model", "; export or train it again") from error
        processor = self._processor
        self.vocab_size: int = processor.vocab_size()
        found = (processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id())
        if found != (PAD_ID, START_ID, END_ID, UNKNOWN_ID):
            raise _refusal(path, "was not trained by fedkey-server: its special ids differ")
        self._special = {unit: processor.piece_to_id(unit) for unit in SPECIAL_UNITS}
        if UNKNOWN_ID in self._special.values():
            raise _refusal(path, "was not trained by fedkey-server: it lacks the placeholder pieces")
        self.flip_id = self._special[FLIP]
        self.behind_id, self.here_id, self.blank_id = (
            processor.piece_to_id(piece) for piece in (BEHIND_PIECE, HERE_PIECE, BLANK_PIECE)
        )
        self.never_suggested: tuple[int, ...] = (
            PAD_ID, START_ID, UNKNOWN_ID, *(self._special[unit] for unit in PLACEHOLDERS),
            self.behind_id, self.here_id, self.blank_id,
        )  # fmt: skip
        self._pieces: list[str] = [processor.id_to_piece(i) for i in range(self.vocab_size)]
        self._unit_of_special = {i: unit for unit, i in self._special.items()}
        self.ends_unit: npt.NDArray[np.bool_] = np.array(
            [piece.endswith(UNIT_END) for piece in self._pieces], dtype=np.bool_
        )
        """Per id: whether a unit is complete after this piece."""
        self._cache: dict[str, tuple[int, ...]] = {unit: (i,) for unit, i in self._special.items()}
        if not self.ends_unit[self.encode_unit("a")[-1]]:
            raise _refusal(path, "was not trained by fedkey-server: its words do not end in a mark")

    @classmethod
    def open(cls, path: Path) -> Pieces:
        """Reads the `tokenizer.model` of a data or run folder; `UserError` if it cannot be used."""
        try:
            model = path.read_bytes()
        except OSError as error:
            raise UserError(f"Cannot read the tokenizer {path}: {error.strerror}; {_REMEDY}.") from error
        return cls(model, path)

    def encode_unit(self, unit: str) -> tuple[int, ...]:
        """The ids of one unit of `fedkey.text.split`."""
        ids = self._cache.get(unit)
        if ids is None:
            ids = tuple(self._processor.encode(unit))
            if len(self._cache) < 200_000:  # a few tens of MB at most; a phone stays far below
                self._cache[unit] = ids
        return ids

    def encode_units(self, units: Iterable[str]) -> list[int]:
        """The ids of several units in order."""
        return [i for unit in units for i in self.encode_unit(unit)]

    def encode(self, message: str) -> list[int]:
        """The ids of a normalised message, without message start and end."""
        return self.encode_units(split(message))

    def frame_behind(
        self, units: Iterable[str], *, is_all: bool = True, most: int = MOST_BEHIND
    ) -> tuple[int, ...]:
        """What is read first where a word is asked for inside a message: `behind_id`, the pieces of the
        units behind the caret, and `END_ID` if the message's end is among what is read.

        A mark between what goes in here and the first unit is the first of these units; one between the text
        before and what goes in here belongs to the text before (`fedkey.text.caret_units`).

        Args:
            units: those behind the caret, truecased as in the whole message.
            is_all: whether the message ends after them.
            most: pieces that are read at most; what is longer is cut between two units, without an end.

        Returns:
            Nothing if not even the first unit fits, or there is none: then the text before is read as ever.
        """
        ids: list[int] = []
        marks: list[int] = []
        for unit in units:
            encoded = self.encode_unit(unit)
            if len(ids) + len(marks) + len(encoded) > most:
                is_all = False
                break
            if unit == FLIP:  # without the unit behind it a mark says nothing
                marks.extend(encoded)
            else:
                ids += [*marks, *encoded]
                marks = []
        return (self.behind_id, *ids, *([END_ID] if is_all else [])) if ids else ()

    def decode_units(self, ids: Sequence[int]) -> list[str]:
        """Back to units. An unfinished last unit is returned as far as it goes; one without letters, which no
        text gives, is left out."""
        units: list[str] = []
        open_ids: list[int] = []
        for i in ids:
            special = self._unit_of_special.get(i)
            if special is not None:
                units.append(special)
            elif i > UNKNOWN_ID:
                open_ids.append(i)
                if self.ends_unit[i]:
                    units.append(self._decode_unit(open_ids))
                    open_ids = []
        if open_ids:
            units.append(self._decode_unit(open_ids))
        return [unit for unit in units if unit]

    def _decode_unit(self, ids: list[int]) -> str:
        # Depending on how the model was trained, SentencePiece keeps the end mark as a space; units hold
        # none.
        return str(self._processor.decode(ids)).rstrip(" ")

    def decode(self, ids: Sequence[int]) -> str:
        """Back to a message: `decode(encode(m)) == m` for every normalised `m`."""
        return join(self.decode_units(ids))

    def piece(self, i: int) -> str:
        """The text of one piece, for people to look at."""
        return self._pieces[i]
