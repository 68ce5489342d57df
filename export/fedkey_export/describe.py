"""A bundle in a dozen lines, for people.

In: an opened bundle. Out: text. Next stop: `fedkey_export.cli`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedkey.bundle import MODEL, TOKENIZER, Bundle


def describe(bundle: Bundle) -> str:
    """What the bundle is, how large, how good and where from."""
    manifest, model = bundle.manifest, bundle.manifest.model
    sizes = {name: entry.bytes for name, entry in manifest.files.items()}
    total, lexicon = (
        sum(sizes.values()),
        sum(size for name, size in sizes.items() if name.startswith("lexicon/")),
    )
    origin = manifest.provenance
    done = ", ".join(f"{origin[unit]} {unit}" for unit in ("steps", "rounds") if unit in origin)
    sources = origin.get("sources", {})
    rows = [
        ("bundle", f"{bundle.path}, format {manifest.format}, needs {', '.join(manifest.features)}"),
        (
            "size",
            f"{total:,} bytes: model {sizes[MODEL]:,}, lexicon {lexicon:,}, tokenizer {sizes[TOKENIZER]:,}",
        ),
        (
            "model",
            f"{model.precision}, {model.num_layers} layers of width {model.width}, {model.vocab_size} pieces",
        ),
        ("cache", f"window of {model.window} pieces, {model.cache_slots} slots"),
        ("lexicon", f"{manifest.num_words:,} words, {', '.join(manifest.languages)}, {manifest.layout}"),
        (
            "made by",
            f"{origin.get('kind', 'unknown')}, {done}" if done else str(origin.get("kind", "unknown")),
        ),
        *(("text", f"{source['name']}: {source['licence']}") for source in sources.get("text", ())),
        *(("list", f"{source['name']}: {source['licence']}") for source in sources.get("lists", ())),
    ]
    lines = "\n".join(f"{name:<10}{text}" for name, text in rows)
    figures = manifest.metrics.get("verification")
    return f"{lines}\n{describe_figures(figures)}" if figures else lines


def describe_figures(figures: Mapping[str, Any]) -> str:
    """What verification found, on one line."""
    return (
        f"{'verified':<10}on {figures['num_positions']:,} positions of {figures['contexts']}: "
        f"NLL {figures['nll']:.3f} {figures['nll_change']:+.4f} nats a piece, "
        f"KL {figures['kl']:.2g}, same first place {figures['top1_agreement']:.1%}, "
        f"candidate scores within {figures['score_difference']:.2g}"
    )
