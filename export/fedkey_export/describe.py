"""A bundle in a dozen lines, for people.

In: an opened bundle. Out: text. Next stop: `fedkey_export.cli`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedkey.bundle import DICTIONARY, MODEL, TOKENIZER, Bundle, ModelEntry


def describe(bundle: Bundle) -> str:
    """What the bundle is, how large, how good and where from.

    Metrics and provenance are free-form: what another exporter left out or wrote otherwise is not shown.
    """
    manifest, model = bundle.manifest, bundle.manifest.model
    sizes = {name: entry.bytes for name, entry in manifest.files.items()}
    total = sum(sizes.values())
    lexicon = sum(size for name, size in sizes.items() if name.startswith("lexicon/"))
    ngrams = sum(size for name, size in sizes.items() if name.startswith("ngrams/"))
    origin = manifest.provenance
    rows = [
        ("bundle", f"{bundle.path}, format {manifest.format}, needs {', '.join(manifest.features)}"),
        (
            "size",
            f"{total:,} bytes: model {sizes[MODEL]:,}, lexicon {lexicon:,}, tokenizer {sizes[TOKENIZER]:,}"
            + (f", dictionary {sizes[DICTIONARY]:,}" if DICTIONARY in sizes else "")
            + (f", n-grams {ngrams:,}" if ngrams else ""),
        ),
        (
            "model",
            f"{model.precision}, {model.num_layers} layers of width {model.width}, {model.vocab_size} pieces",
        ),
        ("cache", f"window of {model.window} pieces, {_cache(model)}"),
        ("lexicon", f"{manifest.num_words:,} words, {', '.join(manifest.languages)}, {manifest.layout}"),
        *(("n-grams", counted) for counted in _counted(manifest.metrics)),
        ("made by", _made_by(origin)),
        *(("of", run) for run in _averaged(origin)),
        *(("privacy", spent) for spent in _privacy(origin)),
        *(("text", source) for source in _sources(origin, "text")),
        *(("list", source) for source in _sources(origin, "lists")),
    ]
    lines = [f"{name:<10}{text}" for name, text in rows]
    figures = manifest.metrics.get("verification")
    if isinstance(figures, Mapping) and all(isinstance(figures.get(name), int | float) for name in SHOWN):
        lines.append(describe_figures(figures))
    return "\n".join(lines)


def _cache(model: ModelEntry) -> str:
    if model.attention == "linear":
        return "linear attention keeps sums"
    slots = f"{model.key_slots} slots"
    return f"{slots}, sliding attention over {model.span}" if model.attention == "sliding" else slots


def _counted(metrics: Mapping[str, Any]) -> Iterator[str]:
    figures = metrics.get("ngrams")
    if isinstance(figures, Mapping) and {"pairs", "triples", "text_words"} <= figures.keys():
        kept = f"{figures['pairs']:,} pairs and {figures['triples']:,} triples"
        phones = figures.get("phones")
        others = (
            f" and of {phones['number']:,} phones"
            if isinstance(phones, Mapping) and "number" in phones
            else ""
        )
        yield f"{kept} of {figures['text_words']:,} words{others}"


def _made_by(run: Mapping[str, Any]) -> str:
    amounts = [f"{run[unit]} {unit}" for unit in ("steps", "rounds") if unit in run]
    return ", ".join([str(run.get("kind", "unknown")), *amounts])


def _averaged(origin: Mapping[str, Any]) -> Iterator[str]:
    config = origin.get("config")
    runs = config.get("runs") if isinstance(config, Mapping) else None
    for run in runs if isinstance(runs, list) else ():
        if isinstance(run, Mapping) and {"name", "weights_sha256"} <= run.keys():
            yield f"{run['name']}: {_made_by(run)}, weights {str(run['weights_sha256'])[:12]}"


def _privacy(origin: Mapping[str, Any]) -> Iterator[str]:
    ledger = origin.get("privacy")
    if isinstance(ledger, Mapping) and {"epsilon", "delta", "noise_multiplier", "clip_norm"} <= ledger.keys():
        yield (
            f"epsilon {ledger['epsilon']:.3g} at delta {ledger['delta']:.0e} for a phone's whole text: "
            f"noise {ledger['noise_multiplier']:g} times the clip of {ledger['clip_norm']:.3g}"
            + (", on top of what its start had learned from phones" if ledger.get("after_phones") else "")
        )


def _sources(origin: Mapping[str, Any], kind: str) -> Iterator[str]:
    sources = origin.get("sources")
    listed = sources.get(kind) if isinstance(sources, Mapping) else None
    for source in listed if isinstance(listed, list) else ():
        if isinstance(source, Mapping) and {"name", "licence"} <= source.keys():
            yield f"{source['name']}: {source['licence']}"


SHOWN = ("num_positions", "nll", "nll_change", "kl", "top1_agreement", "score_difference", "spread")


def describe_figures(figures: Mapping[str, Any]) -> str:
    """What verification found, on one line."""
    return (
        f"{'verified':<10}on {figures['num_positions']:,} positions of {figures.get('contexts', 'text')}: "
        f"NLL {figures['nll']:.3f} {figures['nll_change']:+.4f} nats a piece, "
        f"KL {figures['kl']:.2g}, same first place {figures['top1_agreement']:.1%}, "
        f"scores within {figures['score_difference']:.2g}, normaliser within {figures['spread']:.2g}"
    )
