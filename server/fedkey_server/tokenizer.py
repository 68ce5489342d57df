"""Training SentencePiece on units.

In: units of the server's text with their counts. Out: a serialised model that `fedkey.pieces` opens. Next
stop: `fedkey_server.batches`.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sentencepiece

from fedkey.errors import UserError
from fedkey.pieces import END_ID, PAD_ID, START_ID, UNKNOWN_ID
from fedkey.text import SPECIAL_UNITS

MIN_VOCAB_SIZE = 300
"""256 bytes, four special ids, five marks, and room for letters."""


@dataclass(frozen=True)
class TokenizerConfig:
    """Size of the piece vocabulary."""

    vocab_size: int = 4096
    character_coverage: float = 0.9999
    """Share of running characters that get a piece of their own, at least 0.98; the rest are spelled in
    bytes."""

    def __post_init__(self) -> None:
        if not 0.98 <= self.character_coverage <= 1:
            raise ValueError(
                f"tokenizer.character_coverage must be between 0.98 and 1, not {self.character_coverage}"
            )
        if self.vocab_size < MIN_VOCAB_SIZE:
            raise ValueError(f"tokenizer.vocab_size must be at least {MIN_VOCAB_SIZE}, not {self.vocab_size}")


def count_units(messages: Iterable[Sequence[str]]) -> Counter[str]:
    """How often each unit stands in the messages; marks and placeholders are left out, they have their own
    ids."""
    counts: Counter[str] = Counter()
    for units in messages:
        counts.update(units)
    for unit in SPECIAL_UNITS:
        del counts[unit]
    return counts


def train(counts: Counter[str], config: TokenizerConfig) -> bytes:
    """A unigram SentencePiece model over units (Kudo 2018, 1804.10959); equal counts give equal bytes.

    Raises:
        UserError: the text is too small for the vocabulary, or has more characters than it has places.
    """
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            # Not a file, whose path would stand in the model.
            sentence_iterator=iter([f"{unit}\t{count}" for unit, count in rows]),
            input_format="tsv",
            model_writer=model,
            model_type="unigram",
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=True,
            treat_whitespace_as_suffix=True,
            pad_id=PAD_ID,
            bos_id=START_ID,
            eos_id=END_ID,
            unk_id=UNKNOWN_ID,
            user_defined_symbols=list(SPECIAL_UNITS),
            num_threads=1,  # more would make the result depend on scheduling
            minloglevel=2,
        )
    except RuntimeError as error:
        if "required_chars" in str(error):
            raise UserError(
                f"The server's text has too many different characters for {config.vocab_size} pieces; "
                "set a larger tokenizer.vocab_size and model.vocab_size."
            ) from error
        raise UserError(
            f"The server's text is too small for {config.vocab_size} pieces; "
            "give more text or set a smaller tokenizer.vocab_size and model.vocab_size."
        ) from error
    return model.getvalue()
