"""Which words were shown for fewer letters of the word being typed, and not taken.

In: what was shown, letter by letter. Out: the words that a writer who reads every suggestion does not mean.
Next stop: `fedkey.ui.drafting`, which asks the engine to leave them out if the writer wants that.
"""

from __future__ import annotations

from typing import NamedTuple


class PassedOver(NamedTuple):
    """What was shown in one place of a text.

    Attributes:
        context: everything before the word.
        after: everything behind it.
        shown: the letters that stood, and the words that were shown for them.
    """

    context: str = ""
    after: str = ""
    shown: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def noted(self, context: str, after: str, letters: str, words: tuple[str, ...]) -> PassedOver:
        """The same after words were shown; nothing is kept of another place."""
        earlier = self.shown if (context, after) == (self.context, self.after) else ()
        kept = tuple(each for each in earlier if each[0] != letters)
        return PassedOver(context, after, (*kept, (letters, words)))

    def words(self, context: str, after: str, letters: str) -> frozenset[str]:
        """What was shown for the beginning of the letters, in small letters; letters that were deleted again
        do not count."""
        if (context, after) != (self.context, self.after):
            return frozenset()
        return frozenset(
            word.lower()
            for earlier, words in self.shown
            if earlier != letters and letters.startswith(earlier)
            for word in words
        )
