"""When the oldest messages leave the model's window, what is left of the text was read already."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedkey import Engine
from fedkey.places import READ_AHEAD

MESSAGES = (
    "how are you doing today?",
    "I'm fine, thanks, and you?",
    "what are you going to do this weekend?",
    "I think we are going to the beach with my sister",
    "that sounds great, see you later",
)


Reads = list[tuple[bool, int]]
"""Whether ahead of the text, and how many ids."""


def recording(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Reads:
    """What the engine's model reads from now on."""
    reads: Reads = []
    model = engine._model
    for name in ("advance", "read"):
        method = getattr(model, name)
        monkeypatch.setattr(
            model,
            name,
            lambda cache, ids, method=method: (
                reads.append((cache is engine._places._ahead, len(ids))),
                method(cache, ids),
            )[1],
        )
    return reads


@pytest.mark.parametrize("types_letters", [True, False])
def test_no_word_waits_for_the_whole_window(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, types_letters: bool
) -> None:
    engine, fresh = Engine.open(tiny_bundle), Engine.open(tiny_bundle)
    reads = recording(engine, monkeypatch)
    context, lengths, longest, with_word = "", [], [], []
    for message in MESSAGES * 6:
        for word in message.split():
            if types_letters:
                for end in range(1, len(word) + 1):
                    num_runs = engine._model.num_runs
                    reads.clear()
                    engine.suggest(context, word[:end])
                    ahead = [num_ids for is_ahead, num_ids in reads if is_ahead]
                    # What is asked of the model for the answer is all that is asked of it then.
                    assert not ahead or engine._model.num_runs == num_runs + 1
                    assert sum(ahead) <= READ_AHEAD
            reads.clear()
            engine.accept(context, word, word, private=True)
            lengths.append(len(engine._places.context.ids))
            longest.append(max(num_ids for is_ahead, num_ids in reads if not is_ahead))
            with_word.append(any(is_ahead for is_ahead, _ in reads))
            context += f"{word} "
            other = fresh.suggest(context, "")
            fresh.reset()
            shown = engine.suggest(context, "")
            assert shown.words
            assert shown.log_probs == pytest.approx(other.log_probs, abs=1e-3)
        context = context.rstrip() + "\n"
    drops = [at for at in range(1, len(lengths)) if lengths[at] < lengths[at - 1]]
    assert len(drops) > 3
    # To read what is left of a window of 128 at once would be 70 to 90.
    assert max(longest[at] for at in drops) <= engine._reader.step
    # The first letters of these words of many pieces all ask the model; with a larger vocabulary few do.
    assert sum(with_word) < len(with_word) / (3 if types_letters else 2)
