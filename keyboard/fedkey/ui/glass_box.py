"""The engine at work, for whoever wants to look: how fast, how much it saves, what it weighs.

In: the statistics of the session, the last answer and what lies behind it. Out: lines of text, as many as
there is room for, the most telling first. Next stop: `fedkey.ui.typing`.

Latencies are from the key to its answer on screen; the engine's own share stands beside them. Speed is
counted from the first key to the last, and a pause of more than five seconds is not typing. A word that was
taken costs one key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from textual.content import Content
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from fedkey.explanation import Explanation, Verdict
from fedkey.session import Session

if TYPE_CHECKING:
    from fedkey.bundle import Manifest
    from fedkey.releases import InUse
    from fedkey.ui.messages import Answered, Explained

BARS = "▁▂▃▄▅▆▇█"

MAX_WORDS, MAX_RIVALS = 5, 3

TRAINED = {"federate": "federated", "train": "trained in one place", "average": "average of several runs"}
"""What a manifest calls the kind of a run -> what that means."""

LITTLE_SHARE = 0.001
"""What a rival needs to be mentioned."""


class Glimpse(NamedTuple):
    """What is to be seen.

    Attributes:
        session: the statistics.
        answered: the last answer on screen, if there is one.
        explained: what lies behind the last answer that was explained; perhaps of a key before.
        release: what is typed with, if its registry is followed.
    """

    session: Session = Session()
    answered: Answered | None = None
    explained: Explained | None = None
    release: InUse | None = None


class Looks(NamedTuple):
    """Styles of what is written."""

    label: Style
    strong: Style


class GlassBox(Widget):
    """Shows a glimpse, as much of it as there is room for."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"glass-box--label", "glass-box--strong"}

    glimpse: reactive[Glimpse] = reactive(Glimpse())

    def render(self) -> Content:
        """The lines that fit."""
        width, height = self.content_size
        looks = Looks(self.get_visual_style("glass-box--label"), self.get_visual_style("glass-box--strong"))
        lines = low if height < LOW else tall
        return Content("\n").join(
            line.truncate(width, ellipsis=True) for line in lines(self.glimpse, width, looks)[:height]
        )


LOW = 12
"""With fewer lines everything is said more briefly."""


# --------------------------------------------------------------------------------------------- arrangements


def tall(glimpse: Glimpse, width: int, looks: Looks) -> list[Content]:
    """All there is, in blocks."""
    session, explained = glimpse.session, glimpse.explained
    blocks = [
        [
            _labelled("key to eye", last_latency(session), looks, strong=True),
            Content(curve(session.recent, width)),
            Content.styled(latencies(session), looks.label),
            _labelled("engine", engine_latency(glimpse.answered), looks),
        ],
        [
            _labelled("keys saved", savings(session), looks),
            _labelled("speed", speed(session), looks),
        ],
    ]
    if explained is not None:
        explanation = explained.explanation
        blocks.append(_words(explanation, width, looks, MAX_WORDS))
        blocks.append([_decision(explanation, looks), *_rivals(explanation, looks)])
        blocks.append(
            [Content.styled(line, looks.label) for line in model_lines(explained.manifest, glimpse.release)]
        )
    lines: list[Content] = []
    for block in blocks:
        lines += [*([Content("")] if lines else []), *block]
    return lines


def low(glimpse: Glimpse, width: int, looks: Looks) -> list[Content]:
    """The same where the conversation was: figures in a line, then the words."""
    session, explained = glimpse.session, glimpse.explained
    figures = [
        Content.styled(last_latency(session), looks.strong),
        Content(speed(session)),
        Content(f"saved {savings(session)}"),
        Content.styled(latencies(session), looks.label),
    ]
    lines = [Content("  ").join(figures)]
    if explained is not None:
        explanation = explained.explanation
        lines.append(_decision(explanation, looks))
        lines += _words(explanation, width, looks, MAX_WORDS)
    return lines


# ------------------------------------------------------------------------------------------------ the parts


def curve(values: Sequence[float], width: int) -> str:
    """The last values as bars, the newest at the right; the highest bar is the largest value."""
    shown = values[-width:]
    if not shown:
        return ""
    top = max(max(shown), 1e-9)
    return "".join(BARS[min(int(value / top * len(BARS)), len(BARS) - 1)] for value in shown)


def last_latency(session: Session) -> str:
    """Of the newest key."""
    return f"{session.recent[-1]:.0f} ms" if session.recent else "– ms"


def latencies(session: Session) -> str:
    """Percentiles of all keys; a bucket of the histogram is 9 % wide."""
    if not session.latency.total:
        return "no key yet"
    p50, p99 = (session.latency.percentile(percent) for percent in (50, 99))
    return f"p50 {p50:.0f}, p99 {p99:.0f} ms"


def engine_latency(answered: Answered | None) -> str:
    """Of that, what the engine took."""
    return "– ms" if answered is None else f"{answered.suggestions.latency_ms:.1f} ms"


def savings(session: Session) -> str:
    """The keystroke savings rate, and what it is made of."""
    keys = session.keystrokes
    if keys.characters <= 0:
        return "–"
    return f"{keys.savings:.0%} ({session.keys_saved} of {keys.characters} keys)"


def speed(session: Session) -> str:
    """Words a minute."""
    words = session.words_per_minute
    return "– wpm" if words is None else f"{words:.0f} wpm"


def decision(explanation: Explanation) -> str:
    """What a space would do, and why."""
    if explanation.autocorrect is not None:
        return f"␣ puts “{explanation.autocorrect}”: {explanation.verdict.value}"
    if explanation.verdict is Verdict.NOTHING_TYPED:
        return "␣ corrects nothing: nothing is typed"
    margin = ""
    others = [rival for rival in explanation.rivals if not rival.is_literal]
    if explanation.verdict is Verdict.UNSURE and others:
        margin = f" ({others[0].share:.0%} of {explanation.min_confidence:.0%})"
    return f"␣ leaves it: {explanation.verdict.value}{margin}"


def model_lines(manifest: Manifest, release: InUse | None) -> Iterable[str]:
    """What answers: release, model, how it was trained, and what its privacy ledger says."""
    model = manifest.model
    size = sum(entry.bytes for entry in manifest.files.values())
    provenance = manifest.provenance
    if release is not None:
        yield f"release {release.version}{', held' if release.is_held else ''}"
    yield f"{model.num_weights / 1e6:.1f} M weights in {model.precision}, {size / 1e6:.1f} MB"
    yield f"{model.num_layers} layers of {model.width}, {model.attention} attention"
    yield f"{', '.join(manifest.languages)}: {manifest.num_words:,} words, {model.vocab_size:,} pieces"
    amounts = [f"{provenance[name]:,} {name}" for name in ("rounds", "steps") if _is_count(provenance, name)]
    if isinstance(kind := provenance.get("kind"), str):
        yield ", ".join([TRAINED.get(kind, kind), *amounts])
    ledger = provenance.get("privacy")
    if isinstance(ledger, dict) and isinstance(ledger.get("epsilon"), int | float):
        delta = ledger.get("delta")
        yield f"privacy: ε {ledger['epsilon']:.3g}" + (f", δ {delta:.0e}" if isinstance(delta, float) else "")
    else:
        yield "privacy: no ledger, no guarantee"


def _is_count(provenance: object, name: str) -> bool:
    return isinstance(provenance, dict) and isinstance(provenance.get(name), int)


def _labelled(label: str, value: str, looks: Looks, *, strong: bool = False) -> Content:
    return Content.assemble(
        (f"{label:<12}", looks.label), Content.styled(value, looks.strong) if strong else Content(value)
    )


COLUMNS = (("slips", 6), ("model", 7), ("memory", 7))


def _words(explanation: Explanation, width: int, looks: Looks, count: int) -> list[Content]:
    """A table of the candidates: what was mistyped costs, what model and memory think, in nats."""
    word_cells = max(width - sum(cells for _, cells in COLUMNS), 8)
    heading = f"{'in nats':<{word_cells}}" + "".join(f"{title:>{cells}}" for title, cells in COLUMNS)
    lines = [Content.styled(heading, looks.label)]
    for each in explanation.words[:count]:
        numbers = (-each.error_cost or None, each.model_log_prob, each.personal_log_prob)
        written = "".join(
            f"{'–' if number is None else f'{number:.1f}':>{cells}}"
            for number, (_, cells) in zip(numbers, COLUMNS, strict=True)
        )
        word = Content(each.word).truncate(word_cells, ellipsis=True, pad=True)
        lines.append(word + Content(written))
    return lines


def _decision(explanation: Explanation, looks: Looks) -> Content:
    style = looks.label if explanation.autocorrect is None else looks.strong
    return Content.styled(decision(explanation), style)


def _rivals(explanation: Explanation, looks: Looks) -> list[Content]:
    """The shares of what competes for the letters."""
    told = [rival for rival in explanation.rivals[:MAX_RIVALS] if rival.share >= LITTLE_SHARE]
    if not told:
        return []
    shares = ", ".join(
        f"{f'“{rival.text}”' if rival.is_literal else rival.text} {rival.share:.0%}" for rival in told
    )
    return [Content.styled(f"{shares}; needs {explanation.min_confidence:.0%}", looks.label)]
