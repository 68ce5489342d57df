"""`fedkey eval`: measure a bundle on a text.

In: a bundle and a text file. Out: tables, or one JSON object. Next stop: `fedkey.simulate`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedkey.errors import UserError
from fedkey.metrics import Keystrokes, Recall, bootstrap, deciles
from fedkey.simulate import (
    BOUNDED_NOTICES,
    LETTERS,
    Scores,
    grade_bundle,
    read_conversations,
    sample,
)

if TYPE_CHECKING:
    from rich.table import Table

MIN_WORDS_FOR_DECILES = 20
"""Authors with fewer graded words say little about themselves."""

LATENCY_PERCENTILES = (50, 90, 99)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("bundle", type=Path, help="bundle folder")
    parser.add_argument(
        "--text",
        type=Path,
        required=True,
        metavar="FILE",
        help=".jsonl conversations or .txt messages to type, plain or with .gz or .xz",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--max-words", type=int, metavar="N", help="grade about N words (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of conversations (default 0)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="worker processes (default 1)")


def run(arguments: argparse.Namespace) -> int:
    """Types the text and prints what was measured."""
    from rich.console import Console
    from rich.progress import Progress

    for option, value in (("--max-words", arguments.max_words), ("--processes", arguments.processes)):
        if value is not None and value < 1:
            raise UserError(f"{option} must be at least 1, not {value}.")
    everything = read_conversations(arguments.text)
    chosen = sample(everything, arguments.max_words, arguments.seed)
    results: dict[str, dict[str, Scores]] = {}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for name, is_baseline in (("unigram", True), ("fedkey", False)):
            task = progress.add_task(name, total=len(chosen))
            results[name] = grade_bundle(
                arguments.bundle,
                chosen,
                baseline=is_baseline,
                processes=arguments.processes,
                seed=arguments.seed,
                on_progress=lambda done, task=task: progress.advance(task, done),  # type: ignore[misc]
            )
    graded = {"stretches": len(chosen), "conversations": len(everything)}
    if arguments.json:
        print(
            json.dumps({"text": arguments.text.name, "graded": graded} | _summaries(results), allow_nan=False)
        )
    else:
        _print_tables(results, graded)
    return 0


def summary(by_author: Mapping[str, Scores]) -> dict[str, Any]:
    """Every metric of one predictor as plain numbers."""
    total = reduce(add, by_author.values(), Scores())
    own = [scores for scores in by_author.values() if scores.after_0.positions >= MIN_WORDS_FOR_DECILES]
    perplexity = total.likelihood.perplexity_per_word
    return {
        "authors": len(by_author),
        "words": total.after_0.positions,
        "recall": {str(letters): _recall(by_author, letters, total.after(letters)) for letters in LETTERS},
        "ksr": {
            "ideal": _savings([scores.ideal for scores in by_author.values()]),
            "bounded": {
                str(probability): _savings([getattr(scores.bounded, name) for scores in by_author.values()])
                for name, probability in BOUNDED_NOTICES.items()
            },
        },
        "bits_per_character": total.likelihood.bits_per_character if total.likelihood.characters else None,
        "perplexity_per_word": perplexity if total.likelihood.words and math.isfinite(perplexity) else None,
        "author_deciles": {
            "authors": len(own),
            "top_1": deciles([scores.after_0.top_1 for scores in own]),
            "ksr_ideal": deciles([scores.ideal.savings for scores in own]),
        },
        "latency_ms": {
            "calls": total.latency.total,
            **{f"p{percent}": total.latency.percentile(percent) for percent in LATENCY_PERCENTILES},
        },
    }


def _recall(by_author: Mapping[str, Scores], letters: int, total: Recall) -> dict[str, Any]:
    own = [scores.after(letters) for scores in by_author.values()]
    positions = [recall.positions for recall in own]
    return {
        "words": total.positions,
        "known_words": total.known,
        "top_1": asdict(bootstrap([recall.hits_1 for recall in own], positions)),
        "top_3": asdict(bootstrap([recall.hits_3 for recall in own], positions)),
        "mrr": total.mean_reciprocal_rank,
        "top_1_known": total.hits_1 / total.known if total.known else 0.0,
        "top_3_known": total.hits_3 / total.known if total.known else 0.0,
        "mrr_known": total.reciprocal_rank / total.known if total.known else 0.0,
        "top_1_exact_case": total.exact_1 / total.positions if total.positions else 0.0,
        "top_3_exact_case": total.exact_3 / total.positions if total.positions else 0.0,
    }


def _savings(own: list[Keystrokes]) -> dict[str, float]:
    saved = [keys.characters - keys.pressed for keys in own]
    return asdict(bootstrap(saved, [keys.characters for keys in own]))


def _summaries(results: Mapping[str, Mapping[str, Scores]]) -> dict[str, Any]:
    return {name: summary(by_author) for name, by_author in results.items()}


def _print_tables(results: Mapping[str, Mapping[str, Scores]], graded: Mapping[str, int]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    summaries = _summaries(results)
    own = summaries["fedkey"]
    console.print(
        f"{own['words']:,} words of {own['authors']:,} authors, in {graded['stretches']:,} stretches of "
        f"{graded['conversations']:,} conversations. Words the lexicon does not know count as wrong and case "
        "is ignored, unless said. [95 % interval over authors]\n"
    )
    recalls = [
        (str(letters), name, numbers["recall"][str(letters)])
        for letters in LETTERS
        for name, numbers in summaries.items()
    ]
    console.print(
        _table(
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
        ),
        "",
    )
    console.print(
        _table(
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
        ),
        "",
    )
    noticing = [f"{100 * probability:.0f} %" for probability in BOUNDED_NOTICES.values()]
    console.print(
        _table(
            ("keystrokes saved", "ideal %", *(f"notices {share}" for share in noticing)),
            (
                (
                    name,
                    _interval(numbers["ksr"]["ideal"]),
                    *(_percent(interval["value"]) for interval in numbers["ksr"]["bounded"].values()),
                )
                for name, numbers in summaries.items()
            ),
        ),
        "",
    )
    latencies = {name: numbers["latency_ms"] for name, numbers in summaries.items()}
    console.print(
        _table(
            ("", "bits/character", "perplexity/word", "p50 ms", "p90 ms", "p99 ms"),
            (
                (
                    name,
                    _or_dash(numbers["bits_per_character"], ".3f"),
                    _or_dash(numbers["perplexity_per_word"], ",.1f"),
                    *(f"{latencies[name][f'p{percent}']:.2f}" for percent in LATENCY_PERCENTILES),
                )
                for name, numbers in summaries.items()
            ),
        )
    )
    if own["author_deciles"]["authors"]:
        console.print(
            f"\ndeciles over the {own['author_deciles']['authors']:,} authors with {MIN_WORDS_FOR_DECILES} "
            "words and more"
        )
        for key, title in (("top_1", "top-1 %"), ("ksr_ideal", "saved %")):
            values = own["author_deciles"][key]
            console.print(f"{title:<8}", *(f"{100 * value:5.1f}" for value in values))


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(titles):
        table.add_column(title, justify="left" if index == 0 or not title else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(interval: Mapping[str, float]) -> str:
    return f"{_percent(interval['value'])} [{_percent(interval['low'])}, {_percent(interval['high'])}]"
