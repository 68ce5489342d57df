"""`fedkey eval`: measure a bundle on a text.

In: a bundle and a text file. Out: tables, or one JSON object. Next stop: `fedkey.simulate`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from fedkey.errors import UserError
from fedkey.metrics import Interval, Keystrokes, Recall, bootstrap, deciles
from fedkey.simulate import (
    BOUNDED_NOTICES,
    LETTERS,
    Scores,
    grade_bundle,
    read_conversations,
    sample,
)

MIN_WORDS_FOR_DECILES = 20
"""Authors with fewer graded words say little about themselves."""


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
    with Progress(console=Console(stderr=True), transient=True) as progress:
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
            **{f"p{percent}": total.latency.percentile(percent) for percent in (50, 90, 99)},
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
    from rich.table import Table

    console = Console()
    summaries = _summaries(results)
    own = summaries["fedkey"]
    console.print(
        f"{own['words']:,} words of {own['authors']} authors, in {graded['stretches']:,} stretches of "
        f"{graded['conversations']:,} conversations. Unknown words count as wrong; case is ignored "
        "unless said. [95 % interval over authors]",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("letters typed")
    for title in ("", "words", "top-1 %", "top-3 %", "MRR", "top-1 known", "top-3 known", "top-1 exact case"):
        table.add_column(title, justify="right" if title else "left")
    for letters in LETTERS:
        for name, numbers in summaries.items():
            recall = numbers["recall"][str(letters)]
            table.add_row(
                str(letters),
                name,
                f"{recall['words']:,}",
                _percent(recall["top_1"]),
                _percent(recall["top_3"]),
                f"{recall['mrr']:.3f}",
                f"{100 * recall['top_1_known']:.1f}",
                f"{100 * recall['top_3_known']:.1f}",
                f"{100 * recall['top_1_exact_case']:.1f}",
            )
    console.print(table)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for title in (
        "KSR ideal %",
        "KSR bounded %",
        "bits/char",
        "perplexity/word",
        "p50 ms",
        "p90 ms",
        "p99 ms",
    ):
        table.add_column(title, justify="right")
    for name, numbers in summaries.items():
        bits, perplexity = numbers["bits_per_character"], numbers["perplexity_per_word"]
        table.add_row(
            name,
            _percent(numbers["ksr"]["ideal"]),
            _percent(numbers["ksr"]["bounded"]),
            f"{bits:.3f}" if bits is not None else "-",
            f"{perplexity:.1f}" if perplexity is not None else "-",
            *(f"{numbers['latency_ms'][f'p{percent}']:.2f}" for percent in (50, 90, 99)),
        )
    console.print(table)
    for key, title in (("top_1", "top-1"), ("ksr_ideal", "KSR ideal")):
        values = own["author_deciles"][key]
        if values:
            shown = " ".join(f"{100 * value:.0f}" for value in values)
            console.print(f"{title} %, deciles over authors: {shown}", highlight=False)


def _percent(interval: Mapping[str, float]) -> str:
    shown = Interval(**interval)
    return f"{100 * shown.value:.1f} [{100 * shown.low:.1f}, {100 * shown.high:.1f}]"
