"""The prices of spelling mistakes, counted in a list of real ones.

In: pairs of what was typed and what was meant. Out: the tables of `fedkey.channel`. Next stop:
`fedkey_export.calibrate`.

Which letters went wrong is not written in the list: each pair is aligned in the likeliest way by the tables
so far, the mistakes are counted, and the counts make the next tables (Kernighan, Church and Gale 1990,
section 3; hard expectation maximisation). Rare mistakes take part of their share from how frequent mistakes
of their kind are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.channel import BORDER, SIZE, SpellingChannel, codes
from fedkey.typos import Misspelling

Floats = npt.NDArray[np.float64]

ROUNDS = 3
"""Of alignment and counting. A fourth moves the costs of substitutions by 0.04 nats on average, the others'
by 0.002."""

PRIOR = 10.0
"""What a kind's overall frequency is worth against counts, in letters."""

SUBSTITUTED, OMITTED, INSERTED, TRANSPOSED = range(4)


class Mistake(NamedTuple):
    """One step of an alignment: its kind, and its place in the kind's table."""

    kind: int
    row: int
    column: int


def fit_channel(pairs: Iterable[Misspelling]) -> SpellingChannel:
    """The channel under which the misspellings are likeliest."""
    coded = [(codes(pair.meant), codes(pair.typed)) for pair in pairs]
    letters, neighbours = np.zeros(SIZE), np.zeros((SIZE, SIZE))
    for meant, _ in coded:
        for before, letter in zip([BORDER, *meant], meant, strict=False):
            letters[letter] += 1
            neighbours[before, letter] += 1
        letters[BORDER] += 1
    costs = _start()
    for _ in range(ROUNDS):
        counts = np.zeros((4, SIZE, SIZE))
        for meant, typed in coded:
            for kind, row, column in align(meant, typed, costs):
                counts[kind, row, column] += 1
        costs = _costs(counts, letters, neighbours)
    return SpellingChannel(*([[round(cost, 2) for cost in row] for row in table] for table in costs))


def _start() -> list[list[list[float]]]:
    """All mistakes alike, none at a letter far likelier."""
    tables = np.full((4, SIZE, SIZE), 5.0)
    np.fill_diagonal(tables[SUBSTITUTED], 0.0)
    return list(tables.tolist())


def _costs(counts: Floats, letters: Floats, neighbours: Floats) -> list[list[list[float]]]:
    total = letters.sum()
    wrong = counts[SUBSTITUTED].copy()
    np.fill_diagonal(wrong, 0.0)
    substituted = (wrong + PRIOR * wrong.sum(0) / total) / (letters + PRIOR)[:, None]
    np.fill_diagonal(substituted, 0.0)
    np.fill_diagonal(substituted, np.maximum(1.0 - substituted.sum(1), 0.5))
    share_omitted = counts[OMITTED].sum(0) / np.maximum(letters, 1.0)
    omitted = (counts[OMITTED] + PRIOR * share_omitted) / (neighbours + PRIOR)
    inserted = (counts[INSERTED] + PRIOR * counts[INSERTED].sum(0) / total) / (letters + PRIOR)[:, None]
    transposed = (counts[TRANSPOSED] + PRIOR * counts[TRANSPOSED].sum() / total) / (neighbours + PRIOR)
    tables = np.stack([substituted, omitted, inserted, transposed])
    return list((-np.log(np.clip(tables, 1e-6, 1.0))).tolist())


def align(
    meant: Sequence[int], typed: Sequence[int], costs: Sequence[Sequence[Sequence[float]]]
) -> list[Mistake]:
    """The cheapest steps from one word to the other, letters that are right among them; by optimal string
    alignment."""
    substituted, omitted, inserted, transposed = costs
    rows, columns = len(meant), len(typed)
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    steps: list[list[Mistake | None]] = [[None] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows + 1):
        before = meant[i - 1] if i else BORDER
        for j in range(columns + 1):
            found: list[tuple[float, Mistake]] = []
            if i and j:
                cost = best[i - 1][j - 1] + substituted[before][typed[j - 1]]
                found.append((cost, Mistake(SUBSTITUTED, before, typed[j - 1])))
            if i:
                two_before = meant[i - 2] if i > 1 else BORDER
                cost = best[i - 1][j] + omitted[two_before][before]
                found.append((cost, Mistake(OMITTED, two_before, before)))
            if j:
                cost = best[i][j - 1] + inserted[before][typed[j - 1]]
                found.append((cost, Mistake(INSERTED, before, typed[j - 1])))
            if i > 1 and j > 1 and meant[i - 1] == typed[j - 2] and meant[i - 2] == typed[j - 1]:
                cost = best[i - 2][j - 2] + transposed[meant[i - 2]][before]
                found.append((cost, Mistake(TRANSPOSED, meant[i - 2], before)))
            if found:
                best[i][j], steps[i][j] = min(found)
    return _walk_back(steps, rows, columns)


_MOVES = {SUBSTITUTED: (1, 1), OMITTED: (1, 0), INSERTED: (0, 1), TRANSPOSED: (2, 2)}


def _walk_back(steps: Sequence[Sequence[Mistake | None]], i: int, j: int) -> list[Mistake]:
    taken = []
    while (step := steps[i][j]) is not None:
        taken.append(step)
        i, j = i - _MOVES[step.kind][0], j - _MOVES[step.kind][1]
    return taken[::-1]
