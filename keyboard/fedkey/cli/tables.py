"""What was measured, as tables of at most 80 columns.

In: the numbers of `fedkey.summaries`. Out: lines on stdout. The walk ends here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fedkey.drawing import LENGTHS, USUAL
from fedkey.gaps import KINDS_OF_WRONG, MIN_WORDS_BEHIND
from fedkey.gaps import LATENCY_PERCENTILES as GAP_PERCENTILES
from fedkey.learning import FIRST_MESSAGES
from fedkey.simulate import BOUNDED_NOTICES, LETTERS
from fedkey.summaries import LATENCY_PERCENTILES, MIN_WORDS_FOR_DECILES
from fedkey.typos import KINDS
from fedkey.workers import CORRECTS

if TYPE_CHECKING:
    from rich.table import Table

Numbers = Mapping[str, Any]


def print_evaluation(measured: Mapping[str, Numbers], graded: Mapping[str, int]) -> None:
    """Prints every section that was measured, the predictors of `measured` below one another."""
    parts: tuple[tuple[str, Callable[[Mapping[str, Numbers]], Iterable[Table | str]]], ...] = (
        ("recall", lambda numbers: _words(numbers, graded)),
        ("typing", _typing),
        ("misspellings", _misspellings),
        ("learning", _learning),
        ("gestures", _gestures),
        ("completions", _completions),
        ("capitals", _capitals),
        ("spaces", _spaces),
        ("infill", _infill),
    )
    blocks: list[Table | str] = []
    for key, make in parts:
        if any(key in numbers for numbers in measured.values()):
            blocks += make({name: numbers for name, numbers in measured.items() if numbers.get(key)})
    print_blocks(blocks)


Follow = Callable[[str, int, str], Callable[[int], None]]
"""(what is done, of how many, of which) -> a function that is told how many more are done."""


@contextmanager
def progress() -> Iterator[Follow]:
    """Bars with the rate and the time that is left, on stderr and only where it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def follow(description: str, total: int, unit: str) -> Callable[[int], None]:
            task = bars.add_task(description, total=total, rate=unit)
            speed = {each.id: each for each in bars.tasks}[task]

            def report(done: int) -> None:
                bars.advance(task, done)
                bars.update(task, rate=f"{unit}, {speed.speed or 0:,.1f}/s")

            return report

        yield follow


def print_blocks(blocks: Iterable[Table | str]) -> None:
    """Prints tables and sentences with an empty line between them."""
    from rich.console import Console

    console = Console(highlight=False)
    for index, block in enumerate(blocks):
        if index:
            console.print()
        console.print(block)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table without lines: its first column and those without a title stand left, numbers right."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(titles):
        made.add_column(title, justify="left" if index == 0 or not title else "right")
    for row in rows:
        made.add_row(*row)
    return made


# -------------------------------------------------------------------------------------- words and keystrokes


def _words(measured: Mapping[str, Numbers], graded: Mapping[str, int]) -> Iterable[Table | str]:
    own = list(measured.values())[-1]
    authors, interval = f"{own['authors']:,} authors", "[95 % interval over authors]"
    if own["authors"] == 1:
        authors, interval = "one author", "There are intervals over several authors only."
    yield (
        f"{own['words']:,} words of {authors}, in {graded['stretches']:,} stretches of "
        f"{graded['conversations']:,} conversations. Words the lexicon does not know count as wrong and case "
        f"is ignored, unless said. {interval}"
    )
    recalls = [
        (str(letters), name, numbers["recall"][str(letters)])
        for letters in LETTERS
        for name, numbers in measured.items()
    ]
    yield table(
        ("letters", "", "words", "top-1 %", "top-3 %", "MRR"),
        (
            (
                letters,
                name,
                f"{r['words']:,}",
                _interval(r["top_1"]),
                _interval(r["top_3"]),
                f"{r['mrr']:.3f}",
            )
            for letters, name, r in recalls
        ),
    )
    yield table(
        ("letters", "", "known", "top-1 %", "top-3 %", "MRR", "exact case: top-1 %", "top-3 %"),
        (
            (
                letters,
                name,
                f"{r['known_words']:,}",
                _percent(r["top_1_known"]),
                _percent(r["top_3_known"]),
                f"{r['mrr_known']:.3f}",
                _percent(r["top_1_exact_case"]),
                _percent(r["top_3_exact_case"]),
            )
            for letters, name, r in recalls
        ),
    )
    noticing = [f"{100 * probability:.0f} %" for probability in BOUNDED_NOTICES.values()]
    yield table(
        ("keystrokes saved", "ideal %", *(f"notices {share}" for share in noticing)),
        (
            (
                name,
                _interval(numbers["ksr"]["ideal"]),
                *(_percent(interval["value"]) for interval in numbers["ksr"]["bounded"].values()),
            )
            for name, numbers in measured.items()
        ),
    )
    latencies = {name: numbers["latency_ms"] for name, numbers in measured.items()}
    yield table(
        ("", "bits/character", "perplexity/word", "p50 ms", "p90 ms", "p99 ms"),
        (
            (
                name,
                _or_dash(numbers["bits_per_character"], ".3f"),
                _or_dash(numbers["perplexity_per_word"], ",.1f"),
                *(f"{latencies[name][f'p{percent}']:.2f}" for percent in LATENCY_PERCENTILES),
            )
            for name, numbers in measured.items()
        ),
    )
    if own["author_deciles"]["authors"] > 1:
        rows = [
            f"deciles over the {own['author_deciles']['authors']:,} authors with {MIN_WORDS_FOR_DECILES} "
            "words and more"
        ]
        for key, title in (("top_1", "top-1 %"), ("ksr_ideal", "saved %")):
            rows.append(" ".join((f"{title:<8}", *(f"{100 * v:5.1f}" for v in own["author_deciles"][key]))))
        yield "\n".join(rows)


# ----------------------------------------------------------------------------------------------- autocorrect


def _typing(measured: Mapping[str, Numbers]) -> Iterable[Table | str]:
    everyone = [
        (source, name, numbers["typing"][source])
        for source in dict.fromkeys(source for numbers in measured.values() for source in numbers["typing"])
        for name, numbers in measured.items()
        if source in numbers["typing"]
    ]
    rows = [row for row in everyone if row[1] in CORRECTS]
    yield (
        "Typed with mistakes. Slips: 15 % of the words have one. Thumbs: they scatter, and 8 % of the "
        "letters hit another key. Words that the text ends by a space."
    )
    yield table(
        ("mistyped as no word", "", "words", "repaired %", "wrong %", "offered %"),
        (
            (
                source,
                name,
                f"{own['words']:,}",
                _interval(own["repair_rate"]),
                _interval(own["wrong_rate"]),
                _percent(own["offered_rate"]),
            )
            for source, name, own in ((s, n, r["nonwords"]) for s, n, r in rows)
        ),
    )
    yield table(
        ("repaired % by slip", *KINDS),
        (
            (name, *(_percent(numbers["typing"]["slips"]["by_kind"][kind]["repair_rate"]) for kind in KINDS))
            for name, numbers in measured.items()
            if name in CORRECTS
        ),
    )
    yield table(
        ("mistyped as a word", "", "words", "offered %", "changed %"),
        (
            (source, name, f"{own['words']:,}", _percent(own["offered_rate"]), _percent(_changed(own)))
            for source, name, own in ((s, n, r["real_words"]) for s, n, r in rows)
        ),
    )
    yield table(
        ("typed right", "", "words", "harmed %", "unknown", "harmed %", "precision %"),
        (
            (
                source,
                name,
                f"{own['right']['words']:,}",
                _interval(own["right"]["harm_rate"]),
                f"{own['right']['unknown']['words']:,}",
                _percent(own["right"]["unknown"]["harm_rate"]),
                "-" if own["precision"] is None else _percent(own["precision"]),
            )
            for source, name, own in rows
        ),
    )
    if rows:
        apostrophes = ", ".join(f"{own['right']['apostrophes']:,} ({source})" for source, _, own in rows)
        yield f"To so many of the harmed only apostrophes were added: {apostrophes}."
    yield table(
        ("keystrokes saved", "", "with the keyboard %", "unaided %"),
        (
            (source, name, _interval(own["ksr"]["aided"]), _interval(own["ksr"]["unaided"]))
            for source, name, own in everyone
        ),
    )


def _misspellings(measured: Mapping[str, Numbers]) -> Iterable[Table | str]:
    if not measured:
        yield (
            "Real misspellings: not measured, since what is graded corrects nothing, or the package nlpaug, "
            "which ships them, is not installed."
        )
        return
    yield table(
        ("real misspellings", "", "words", "repaired %", "wrong %", "offered %", "changed %"),
        (
            (
                title,
                name,
                f"{own['words']:,}",
                _percent(own["repair_rate"]),
                _percent(own["wrong_rate"]),
                _percent(own["offered_rate"]),
                _percent(_changed(own)),
            )
            for key, title in (
                ("nonwords", "no words"),
                ("in_context", "of these, in a text"),
                ("real_words", "other words"),
            )
            for name, own in ((n, numbers["misspellings"][key]) for n, numbers in measured.items())
        ),
    )


def _changed(corrections: Numbers) -> float:
    changed = corrections["repaired"] + corrections["wrong"]
    return changed / corrections["words"] if corrections["words"] else 0.0


# -------------------------------------------------------------------------------------------------- learning


def _learning(measured: Mapping[str, Numbers]) -> Iterable[Table | str]:
    for numbers in measured.values():
        learning = numbers["learning"]
        yield table(
            ("first messages", "authors", "saved with memory %", "without %", "gain in points"),
            (
                (
                    str(messages),
                    f"{own['authors']:,}",
                    _interval(own["with_memory"]),
                    _interval(own["without_memory"]),
                    _interval(own["gain"]),
                )
                for messages, own in ((m, learning["first_messages"][str(m)]) for m in FIRST_MESSAGES)
                if own["authors"]
            ),
        )
        new = learning["new_words"]
        yield table(
            ("new words written again", "offered after 1 use", "2", "more", "never", "letters"),
            (
                (
                    f"{new['words']:,}",
                    *(f"{new[key]:,}" for key in ("after_1", "after_2", "after_more", "never")),
                    f"{new['mean_letters']:.1f}",
                ),
            ),
        )


# -------------------------------------------------------------------------------------------------- gestures


def _gestures(measured: Mapping[str, Numbers]) -> Iterable[Table | str]:
    for numbers in measured.values():
        alone, in_text = numbers["gestures"]["alone"], numbers["gestures"]["in_text"]
        rows = [*alone.items(), *([] if in_text is None else [("in the text", in_text)])]
        yield (
            f"Words drawn across the keys: {alone[USUAL]['words']:,} of the most frequent, each by itself"
            + ("" if in_text is None else f", and {in_text['words']:,} where a text has them")
            + ". [95 % interval over words, or over the text's authors]"
        )
        yield table(
            ("drawn", "words", "top-1 %", "top-3 %"),
            (
                (title, f"{own['words']:,}", _interval(own["top_1"]), _interval(own["top_3"]))
                for title, own in rows
            ),
        )
        both = [(USUAL, alone[USUAL]), *rows[len(alone) :]]
        yield table(
            ("letters", "drawn", "words", "top-1 %", "top-3 %"),
            (
                (
                    letters,
                    title,
                    f"{own['by_letters'][key]['words']:,}",
                    _interval(own["by_letters"][key]["top_1"]),
                    _interval(own["by_letters"][key]["top_3"]),
                )
                for key, letters in LENGTHS.items()
                for title, own in both
            ),
        )
        yield table(
            ("", "p50 ms", "p90 ms", "p99 ms"),
            (
                (title, *(f"{own['latency_ms'][f'p{percent}']:.1f}" for percent in LATENCY_PERCENTILES))
                for title, own in both
            ),
        )


# ----------------------------------------------------------------------------------------------- completions


def _completions(measured: Mapping[str, Numbers]) -> Iterable[Table | str]:
    for numbers in measured.values():
        own = numbers["completions"]
        yield (
            f"Completions behind the caret: {own['shown']:,} while {own['words']:,} words were typed; "
            f"{own['vanished']:,} of them went though the letters agreed. [95 % interval over authors]"
        )
        yield table(
            ("shown per 100 words", "right %", "keys saved by taking the right ones %"),
            [tuple(_interval(own[key]) for key in ("shown_per_word", "right", "keys_saved"))],
        )


# -------------------------------------------------------------------------------------------------- capitals


def _capitals(measured: Mapping[str, Numbers]) -> Iterable[Table | str]:
    for numbers in measured.values():
        own = numbers["capitals"]
        yield (
            f"Capitals by a space: {own['words']:,} words inside sentences were typed in small letters; the "
            f"text writes {own['capitals']:,} of them with capitals. [95 % interval over authors]"
        )
        yield table(
            ("put as in the text %", "put otherwise %", "put on small words %"),
            [tuple(_interval(own[key]) for key in ("put", "otherwise", "raised"))],
        )


# ---------------------------------------------------------------------------------------------------- spaces


def _spaces(measured: Mapping[str, Numbers]) -> Iterable[Table | str]:
    for numbers in measured.values():
        own = numbers["spaces"]
        yield (
            f"Spaces that slipped: {own['pairs']:,} pairs of words were typed with their space a letter too "
            f"early or too late, or inside the first word, and {own['right']:,} as they stand. Case and "
            "apostrophes are ignored. [95 % interval over authors]"
        )
        yield table(
            ("repaired %", "word by word %", "wrong %", "right, but moved %"),
            [tuple(_interval(own[key]) for key in ("repaired", "by_word", "wrong", "moved"))],
        )
        yield table(
            ("where the space came", "pairs", "repaired %"),
            (
                (kind, f"{slipped['pairs']:,}", _percent(slipped["repaired"] / max(slipped["pairs"], 1)))
                for kind, slipped in own["by_kind"].items()
            ),
        )


# ---------------------------------------------------------------------------------------- inside a text


def _infill(measured: Mapping[str, Numbers]) -> Iterable[Table | str]:
    for numbers in measured.values():
        own = numbers["infill"]
        yield (
            f"Inside a text: {own['words']:,} words of {own['authors']:,} authors, each with "
            f"{MIN_WORDS_BEHIND} words and more behind it. Words the lexicon does not know count as wrong "
            "and case is ignored. [95 % interval over authors]"
        )
        recalls = [(letters, recall) for letters, recall in own["recall"].items() if recall["words"]]
        yield table(
            ("letters", "", "words", "top-1 %", "top-3 %", "MRR"),
            [
                (
                    letters,
                    way,
                    f"{recall['words']:,}",
                    *_ratios(recall[key]),
                    f"{recall[key]['mrr']['value']:.3f}",
                )
                for letters, recall in recalls
                for key, way in WAYS.items()
                if recall[key]
            ],
        )
        yield table(
            ("letters", "", "top-1", "top-3", "MRR"),
            [
                (
                    letters,
                    "gained, points",
                    *_ratios(recall["gain"]),
                    _value(recall["gain"]["mrr"], "+.3f"),
                )
                for letters, recall in recalls
            ],
        )
        wrong = [(kind, own["replacements"][kind]) for kind in KINDS_OF_WRONG]
        yield table(
            ("a wrong word is tapped", "", "words", "right first %", "among three %"),
            [
                (kind, way, f"{mended['words']:,}", *_ratios(mended[key]))
                for kind, mended in wrong
                for key, way in WAYS.items()
            ],
        )
        yield table(
            ("a wrong word is tapped", "", "first", "among three"),
            [(kind, "gained, points", *_ratios(mended["gain"])) for kind, mended in wrong if mended["gain"]],
        )
        asked = (("suggested", own["latency_ms"]), ("tapped", own["latency_tapped_ms"]))
        yield table(
            ("", "", *(f"p{percent} ms" for percent in GAP_PERCENTILES)),
            [
                (what, way, *(f"{latency[key][f'p{percent}']:.1f}" for percent in GAP_PERCENTILES))
                for what, latency in asked
                for key, way in WAYS.items()
                if latency[key]
            ],
        )


WAYS = {"left": "from the left", "both": "both sides"}


def _ratios(shares: Mapping[str, Numbers]) -> tuple[str, str]:
    return _interval(shares["top_1"]), _interval(shares["top_3"])


def _value(interval: Mapping[str, float], form: str) -> str:
    return format(interval["value"], form)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(interval: Mapping[str, float]) -> str:
    """Without its ends if they are one: so it is whenever there is but one author to draw, and would say that
    one is sure of what nobody knows."""
    if interval["low"] == interval["high"]:
        return _percent(interval["value"])
    return f"{_percent(interval['value'])} [{_percent(interval['low'])}, {_percent(interval['high'])}]"
