"""When the oldest messages leave the model's window, what is left of the text was read already."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedkey import Engine

MESSAGES = (
    "how are you doing today?",
    "I'm fine, thanks, and you?",
    "what are you going to do this weekend?",
    "I think we are going to the beach with my sister",
    "that sounds great, see you later",
)


def test_no_word_waits_for_the_whole_window(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, fresh = Engine.open(tiny_bundle), Engine.open(tiny_bundle)
    read: list[int] = []
    advance = engine._model.advance
    monkeypatch.setattr(
        engine._model, "advance", lambda cache, ids: (read.append(len(ids)), advance(cache, ids))[1]
    )
    context, lengths, longest = "", [], []
    for message in MESSAGES * 6:
        for word in message.split():
            read.clear()
            shown = engine.suggest(context, "")
            engine.accept(context, word, word, private=True)
            lengths.append(len(engine._context.ids))
            longest.append(max(read, default=0))
            context += f"{word} "
            other = fresh.suggest(context, "")
            fresh.reset()
            assert engine.suggest(context, "").log_probs == pytest.approx(other.log_probs, abs=1e-3)
            assert shown.words
        context = context.rstrip() + "\n"
    drops = [at for at in range(1, len(lengths)) if lengths[at] < lengths[at - 1]]
    assert len(drops) > 3
    # To read what is left of a window of 128 at once would be 70 to 90.
    assert max(longest[at] for at in drops) <= engine._reader.step
