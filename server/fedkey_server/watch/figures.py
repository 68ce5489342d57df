"""The figures of a run, in the words in which they are shown.

In: a `Record`. Out: series for charts, a few cards of figures, rows of a table. Next stop:
`fedkey_server.watch.panels`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedkey_server.watch.record import Record, Row

SILENT_AFTER = 60.0
"""Seconds without a word after which a run is not called running, and ..."""
SILENT_STEPS = 5
"""... as many times what lies between two of its checkpoints."""

FATES = ("reports", "dropped", "late", "refused", "silent")
"""What becomes of the phones that a round asks."""


@dataclass(frozen=True)
class Series:
    """A figure over steps."""

    steps: list[float]
    values: list[float]

    def __bool__(self) -> bool:
        return bool(self.steps)


def series(record: Record, read: Callable[[Row], float | None]) -> Series:
    """A figure of all rows that have it."""
    found = [(float(row["step"]), value) for row in record.rows if (value := read(row)) is not None]
    return Series([step for step, _ in found], [value for _, value in found])


def figure(name: str) -> Callable[[Row], float | None]:
    """Reads a figure by its name."""
    return lambda row: row.get(name)


def decile(number: int) -> Callable[[Row], float | None]:
    """Reads the top-1 below which `number` tenths of the authors are."""
    return lambda row: row["top1_deciles"][number - 1] if "top1_deciles" in row else None


def cost(name: str) -> Callable[[Row], float | None]:
    """Reads what a round took of a simulated fleet."""
    return lambda row: row["fleet"].get(name) if "fleet" in row else None


def spent(name: str) -> Callable[[Row], float | None]:
    """Reads a figure of the privacy ledger."""
    return lambda row: row["privacy"].get(name) if "privacy" in row else None


def running_sum(of: Series) -> Series:
    """What came together up to each step."""
    total, sums = 0.0, []
    for value in of.values:
        total += value
        sums.append(total)
    return Series(of.steps, sums)


def rounds(record: Record) -> list[Row]:
    """The rows of rounds; row 0 of a federation is the model that it starts from."""
    return [row for row in record.rows if "asked" in row]


def fates(row: Row) -> dict[str, int]:
    """How many of the phones that were asked came to which end."""
    lost = row.get("lost", {})
    late = lost.get("late", 0)
    ends = (
        row["reports"],
        sum(lost.values()) - late,
        late,
        sum(row["refused"].values()),
        row["silent"],
    )
    return dict(zip(FATES, ends, strict=True))


def reasons(rows: Sequence[Row]) -> str:
    """Why phones did not help, the most frequent reason first; that they were late or silent says itself."""
    counted: Counter[str] = Counter()
    for row in rows:
        counted.update({reason: n for reason, n in row.get("lost", {}).items() if reason != "late"})
        counted.update(row["refused"])
    return ", ".join(f"{count} {reason}" for reason, count in counted.most_common())


# --- how far the run is ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """How a run is getting on."""

    word: str
    """"running", "silent" or "finished"."""
    sentence: str
    share: float | None
    """Of what there is to do."""
    progress: str


def state(record: Record, now: float) -> State:
    """Where a run is at the time `now`, in seconds since the epoch."""
    unit = "round" if record.is_federated else "step"
    total, step, pace = record.num_steps, record.step, record.seconds_per_step
    quiet = max(0.0, now - record.written_at)
    of_total = f"{unit} {step:,}" + (f" of {total:,}" if total is not None else "")
    if record.is_average:  # its folder was whole from the first
        return State("finished", "finished", 1.0, f"an average of {len(record.config.get('runs', ()))} runs")
    if record.is_finished:
        return State("finished", "finished", 1.0, f"{step:,} {unit}s" + _rate(pace, unit))
    share = None if not total else min(1.0, step / total)
    if quiet > max(SILENT_AFTER, SILENT_STEPS * (pace or 0.0) * _checkpoint_steps(record)):
        return State("silent", f"nothing new for {duration(quiet)}", share, of_total)
    left = "" if pace is None or total is None else f" · {duration(max(0, total - step) * pace)} left"
    return State("running", "running", share, of_total + _rate(pace, unit) + left)


def _checkpoint_steps(record: Record) -> int:
    return 1 if record.is_federated else int(record.config["train"]["checkpoint_every"])


def _rate(pace: float | None, unit: str) -> str:
    if pace is None:
        return ""
    if pace > 1:
        return f" · {60 / pace:.1f} {unit}s/min" if pace < 60 else f" · {duration(pace)} a {unit}"
    return f" · {1 / pace:.1f} {unit}s/s"


# --- cards of figures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """A few figures that belong together."""

    title: str
    lines: list[tuple[str, str]]
    """(name, figure)."""


OTHER_EXAMS = (("in gaps", "infill_top1"), ("masked", "masked_top1"), ("permutation", "permutation_top1"))
"""Shares of hits where both sides are seen, as `fedkey_server.validation` measures them."""


def cards(record: Record) -> list[Card]:
    """What has come of the run so far."""
    if record.is_average:
        return [_learnt(record)]
    if not record.is_federated:
        return [_learnt(record), _trained(record)]
    return [_learnt(record), _phones(record), _costs(record), _privacy(record)]


def _learnt(record: Record) -> Card:
    loss, top_1 = (series(record, figure(name)).values for name in ("validation_loss", "validation_top1"))
    lines = []
    if loss:
        lines += [("loss", f"{loss[-1]:.3f}"), ("at first", f"{loss[0]:.3f}")]
    if top_1:
        lines += [("top-1", percent(top_1[-1]))]
    for label, name in OTHER_EXAMS:
        values = series(record, figure(name)).values
        lines += [(label, percent(values[-1]))] if values else []
    for label, number in (("1st decile", 1), ("9th decile", 9)):
        values = series(record, decile(number)).values
        lines += [(label, percent(values[-1]))] if values else []
    return Card("learning", lines)


def _trained(record: Record) -> Card:
    lines = []
    for label, name in (("train loss", "train_loss"), ("learning rate", "learning_rate")):
        values = series(record, figure(name)).values
        lines += [(label, f"{values[-1]:.4g}")] if values else []
    return Card("training", lines)


def _phones(record: Record) -> Card:
    rows = rounds(record)
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update(fates(row))
    lines = [("asked", f"{sum(row['asked'] for row in rows):,}"), ("reports", f"{sums['reports']:,}")]
    lines += [(fate, f"{sums[fate]:,}") for fate in FATES[1:] if sums[fate]]
    return Card("phones", lines)


def _costs(record: Record) -> Card:
    clock = series(record, cost("clock")).values
    if not clock:
        return Card("cost", [("no simulated fleet", "")])
    down, up, seconds, wasted = (
        sum(series(record, cost(name)).values)
        for name in ("bytes_down", "bytes_up", "client_seconds", "wasted_seconds")
    )
    return Card(
        "cost",
        [
            ("down", num_bytes(down)),
            ("up", num_bytes(up)),
            ("on phones", duration(seconds)),
            ("wasted", percent(wasted / seconds if seconds else 0)),
            ("clock", clock_time(clock[-1])),
        ],
    )


def _privacy(record: Record) -> Card:
    lines = [row["privacy"] for row in record.rows if "privacy" in row]
    if not lines:
        return Card("privacy", [("no promise", "")])
    line, budget = lines[-1], float(record.config["privacy"]["epsilon"])
    return Card(
        "privacy",
        [
            ("ε so far", f"{line['epsilon']:.3g}"),
            ("budget", f"{budget:g}" if budget else "none"),
            ("δ", f"{line['delta']:.0e} {line.get('mode', '')}".strip()),
            ("ε at 1M", f"{line['epsilon_at_a_million']:.3g}"),
            ("its cohort", f"{line['cohort_at_a_million']:,}"),
        ],
    )


# --- table -----------------------------------------------------------------------------------------------

Column = tuple[str, Callable[[Row], str]]


def columns(record: Record, *, has_room: bool = True) -> list[Column]:
    """The columns of which the run has figures; the first is what a row is about.

    Args:
        has_room: whether the least important ones are wanted, too.
    """
    found: list[Column] = [
        ("round" if record.is_federated else "step", lambda row: f"{row['step']:,}"),
        ("loss", _shown(figure("validation_loss"), "{:.3f}".format)),
        ("top-1", _shown(figure("validation_top1"), percent)),
    ]
    if has_room or not record.is_federated:
        found += [(f"{n} decile", _shown(decile(int(n[0])), percent)) for n in ("1st", "5th", "9th")]
    if record.is_federated:
        found += [("asked", _shown(figure("asked"), "{:,}".format))]
        found += [(fate, _fate(fate)) for fate in FATES]
    else:
        found += [
            ("train loss", _shown(figure("train_loss"), "{:.3f}".format)),
            ("learning rate", _shown(figure("learning_rate"), "{:.2e}".format)),
        ]
    if has_room:
        found += [
            ("ε", _shown(spent("epsilon"), "{:.3g}".format)),
            ("down", _shown(cost("bytes_down"), num_bytes)),
            ("up", _shown(cost("bytes_up"), num_bytes)),
            ("on phones", _shown(cost("client_seconds"), duration)),
            ("wasted", _shown(cost("wasted_seconds"), duration)),
            ("clock", _shown(cost("clock"), clock_time)),
        ]
    found += [("why", lambda row: _why(row) if "asked" in row else "")]
    return [(name, read) for name, read in found if any(map(read, record.rows))] or found[:3]


def _shown(read: Callable[[Row], float | None], show: Callable[[float], str]) -> Callable[[Row], str]:
    return lambda row: "" if (value := read(row)) is None else show(value)


def _fate(name: str) -> Callable[[Row], str]:
    """Nobody's fate is left blank, so that somebody's is seen."""

    def read(row: Row) -> str:
        number = fates(row)[name] if "asked" in row else 0
        return f"{number:,}" if number or (name == "reports" and "asked" in row) else ""

    return read


def _why(row: Row) -> str:
    return "; ".join(filter(None, ("" if row["changed"] else "changed nothing", reasons([row]))))


# --- numbers ---------------------------------------------------------------------------------------------


def percent(share: float, digits: int = 1) -> str:
    """ "24.1 %"."""
    return f"{100 * share:.{digits}f} %"


def num_bytes(number: float) -> str:
    """ "1.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def duration(seconds: float) -> str:
    """ "17 min"."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def clock_time(seconds: float) -> str:
    """ "day 2, 07:13"."""
    minutes = int(seconds // 60)
    return f"day {minutes // 1440 + 1}, {minutes // 60 % 24:02d}:{minutes % 60:02d}"
