"""`fedkey bench`: how fast a bundle answers, and what it weighs.

In: a bundle, and perhaps a text to type. Out: tables, or one JSON object. The walk ends here.

Everything is measured in processes of their own. With `--ui` it is the keyboard on screen, see
`fedkey.cli.bench_ui`; else there is no screen, and one thread. One types a text key by
key as a person does, mistakes included, and reports the processor time of every key and the memory it took.
The others only start, open the bundle and answer once. Machines differ: goals stand beside the figures, and
nothing fails for missing them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fedkey.commands import seed
from fedkey.errors import UserError

if TYPE_CHECKING:
    from fedkey.cli.tables import Follow
    from fedkey.conversations import GradedConversation
    from fedkey.engine import Engine, Suggestions

MIN_KEYS = 2000
"""Keystrokes measured unless more are asked for: the 99th percentile rests on twenty of them."""

MIN_KEYS_ON_SCREEN = 400
"""The same for the keyboard on screen, where each takes an eighth of a second."""

MISTYPED = 0.15
"""Share of words with a slip."""

COLD_STARTS = 5
"""Of which the median is told: a process now and then waits for another."""

LETTER, SPACE, PUNCTUATION, BACKSPACE, MESSAGE = "letter", "space", "punctuation", "backspace", "new message"
KEYS = (LETTER, SPACE, PUNCTUATION, BACKSPACE, MESSAGE)
BETWEEN = "between keys"
"""No key: what the engine works ahead after one, while nobody waits."""

GOALS = {
    "letter_p50_ms": 3.0,
    "letter_p99_ms": 6.0,
    "space_p99_ms": 7.0,
    "cold_start_s": 0.5,
    "memory_mb": 120.0,
}
"""For a model of the phone's size: 9 to 10 million parameters in int8."""

TALK = """\
hey, are you still coming to the market with us on Saturday?
i think so, but my train only gets in at eleven
that's fine, we can wait for you near the fountain
should i bring anything? i could bake those walnut cookies again
yes please, everyone loved them last time
did Marta ever find her umbrella?
no, she thinks somebody took it home from the concert by accident
what a pity, it was such a pretty one
i'm going to buy her a new one for her birthday
when is it again, the ninth or the nineteenth?
the nineteenth, so we still have more than two weeks
great, then let's plan something small, maybe dinner at our place
i would like that very much
by the way, have you heard back about the apartment?
they called this morning and said it's ours if we want it!
congratulations, that is wonderful news
thanks, we're so happy, although the kitchen needs a lot of work
my brother can help you with the shelves, he enjoys that kind of thing
really? that would save us a fortune
i'll ask him tonight when he comes over for the game
who do you think is going to win?
honestly i don't care, i'm only there for the snacks
haha, fair enough
don't forget that we promised to visit grandma on Sunday afternoon
i haven't forgotten, i already told her we'd be there around three
she wants to show us the photographs from her holiday in Portugal
all four hundred of them?
probably, so wear something comfortable
okay, now i really have to finish this report before my boss notices
good luck, see you on Saturday then
see you, and tell Marta i said hello
will do, sleep well
"""
"""Made up; typed when no text is named. Names have their capital, since a space would put it anyway, and who
takes it back is no fair measure of what was worked out ahead."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "bundle",
        type=Path,
        nargs="?",
        help="folder of a bundle or of releases (default: fedkey's own bundle)",
    )
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help="what to type: .jsonl conversations or .txt messages (default: a made-up talk)",
    )
    parser.add_argument(
        "--keys",
        type=int,
        metavar="N",
        help=f"keystrokes at least (default {MIN_KEYS}, with --ui {MIN_KEYS_ON_SCREEN})",
    )
    parser.add_argument(
        "--behind",
        type=int,
        default=0,
        metavar="WORDS",
        help="type every message in front of so many words that stand in it already (default 0)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the mistakes (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--ui", action="store_true", help="measure the keyboard on screen: first paint, keys, rest"
    )


def run(arguments: argparse.Namespace) -> int:
    """Types, starts, and prints what it took."""
    from fedkey.cli.tables import progress
    from fedkey.conversations import GradedConversation, read_conversations, sample
    from fedkey.engine import Engine
    from fedkey.releases import bundle_at
    from fedkey.shipped import shipped_bundle
    from fedkey.text import normalise

    min_keys = arguments.keys
    if min_keys is None:
        min_keys = MIN_KEYS_ON_SCREEN if arguments.ui else MIN_KEYS
    if min_keys < 1:
        raise UserError(f"--keys must be at least 1, not {min_keys}.")
    if arguments.behind < 0:
        raise UserError(f"--behind must be at least 0, not {arguments.behind}: it is a number of words.")
    if arguments.behind and arguments.ui:
        raise UserError("--ui types at the end of the message; leave out --behind.")
    path = bundle_at(arguments.bundle or shipped_bundle())
    engine = Engine.open(path)  # whatever is wrong with the bundle is told here
    if arguments.text is None:
        messages = tuple(map(normalise, TALK.splitlines()))
        conversations = [GradedConversation("talk", messages, (True,) * len(messages))]
    else:
        # A word is at least two keystrokes: these are more than will be typed.
        conversations = sample(read_conversations(arguments.text), min_keys, arguments.seed)
    lines = plan(conversations, min_keys, arguments.seed, num_behind=arguments.behind)
    model = engine.bundle.manifest.model
    numbers: dict[str, Any] = {
        "text": None if arguments.text is None else arguments.text.name,
        "words_behind": arguments.behind,
        "model": {
            "width": model.width,
            "layers": model.num_layers,
            "pieces": model.vocab_size,
            "precision": model.precision,
            "bundle_bytes": sum(entry.bytes for entry in engine.bundle.manifest.files.values()),
        },
    }
    with progress() as follow:
        if arguments.ui:
            from fedkey.cli import bench_ui

            numbers |= bench_ui.measure(path, lines, engine.layout, follow)
        else:
            numbers |= _measure(path, lines, follow)
    if arguments.json:
        print(json.dumps(numbers, allow_nan=False))
    elif arguments.ui:
        bench_ui.print_tables(numbers)
    else:
        _print_tables(numbers)
    return 0


def _measure(path: Path, lines: Sequence[Line], follow: Follow) -> dict[str, Any]:
    """What the engine takes, without a screen."""
    typed = _type_elsewhere(path, lines, follow("typing", sum(map(num_keys, lines)), "keys"))
    report = follow("starting", COLD_STARTS, "starts")
    starts = []
    for _ in range(COLD_STARTS):
        starts.append(_start_elsewhere(path))
        report(1)
    return {
        "keys": {
            kind: figures([key for key in typed["keys"] if key.kind == kind]) for kind in (*KEYS, BETWEEN)
        },
        "cold_start": {name: percentile([start[name] for start in starts], 50) for name in starts[0]},
        "memory_mb": typed["memory_mb"],
        "threads": typed["threads"],
        "goals": GOALS,
    }


# ---------------------------------------------------------------------------------------------- what is typed


class Unit(NamedTuple):
    """A word or a run of punctuation of a message."""

    start: int
    """Where it stands in the message."""
    typed: str
    """What is typed for it; what was meant, unless it is a word and has a slip."""
    meant: str
    stands: int
    """How many letters stand right before the first wrong one."""
    is_word: bool


class Line(NamedTuple):
    """A message to type."""

    before: str
    """Earlier messages, each with a line end."""
    message: str
    units: tuple[Unit, ...]
    after: str = ""
    """What stands behind the caret all the time."""


def plan(
    conversations: Sequence[GradedConversation], min_keys: int, seed: int, *, num_behind: int = 0
) -> list[Line]:
    """The graded messages in order, some of their words mistyped, until they take `min_keys` keystrokes; a
    text that is too short is typed again with other mistakes.

    Args:
        conversations: what to type.
        min_keys: how many keystrokes at least.
        seed: of the mistakes.
        num_behind: words of the conversation that stand behind each message already.

    Raises:
        UserError: there is nothing to type.
    """
    from fedkey.mistyping import num_right
    from fedkey.simulate import draws
    from fedkey.text import PLACEHOLDERS, is_word, units_with_places
    from fedkey.typos import Careless

    slips = Careless(MISTYPED)
    lines: list[Line] = []
    keys = 0
    for turn in itertools.count():
        for conversation in conversations:
            for index, before, message in conversation.to_type():
                if keys >= min_keys:
                    return lines
                rng = draws(seed + turn, index, message)
                units = []
                for unit, start in units_with_places(message):
                    if unit not in PLACEHOLDERS:
                        typed = slips(unit, rng).letters if is_word(unit) else unit
                        units.append(Unit(start, typed, unit, num_right(typed, unit), is_word(unit)))
                after = _words_behind(conversation.messages, index, num_behind)
                lines.append(Line(before, message, tuple(units), after))
                keys += num_keys(lines[-1])
        if keys == 0:
            raise UserError("The text holds nothing to type; name another with --text.")
    raise AssertionError("unreachable")


def _words_behind(messages: Sequence[str], index: int, count: int) -> str:
    """So many words of the messages after one, from the first again after the last."""
    later = (message.split() for message in itertools.cycle((*messages[index + 1 :], *messages[: index + 1])))
    return "".join(f" {word}" for word in itertools.islice(itertools.chain.from_iterable(later), count))


def num_keys(line: Line) -> int:
    """Characters that are typed; what is taken back comes on top."""
    gaps = sum(line.message[unit.start - 1 : unit.start] == " " for unit in line.units)
    return gaps + sum(len(unit.typed) for unit in line.units)


class Key(NamedTuple):
    """One keystroke, and what the answer to it took; or `BETWEEN`."""

    kind: str
    cpu_ms: float
    wall_ms: float


def type_lines(engine: Engine, lines: Iterable[Line]) -> Iterator[list[Key]]:
    """Types messages to their end, whatever is shown; yields the keys of each message.

    Every key asks for suggestions. A space or punctuation after a word tells the engine of the word first. A
    mistyped word that autocorrect would not repair is taken back to its first wrong letter by backspaces and
    typed right. A message begins by reading what was written before it, and is told of the last word of the
    one before. Nothing but the engine's calls is timed.
    """
    finished: tuple[str, str, str, str] | None = None
    keys: list[Key] = []
    after = ""

    def press(kind: str, context: str, letters: str = "") -> Suggestions:
        nonlocal finished
        wall, cpu = time.perf_counter(), time.process_time()
        if finished is not None:
            *word, behind = finished
            engine.accept(*word, after=behind)
        answer = engine.suggest(context, letters, after=after)
        keys.append(Key(kind, (time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000))
        finished = None
        wall, cpu = time.perf_counter(), time.process_time()
        if engine.look_ahead():
            while engine.look_ahead():
                pass
            keys.append(Key(BETWEEN, (time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000))
        return answer

    for before, message, units, after in lines:
        press(MESSAGE, before)
        for start, typed, meant, stands, is_word in units:
            context = before + message[:start]
            if context.endswith(" "):
                press(SPACE, context)
            if not is_word:
                for end in range(1, len(typed) + 1):
                    press(PUNCTUATION, context + typed[:end])
                continue
            for end in range(1, len(typed) + 1):
                answer = press(LETTER, context, typed[:end])
            if typed != meant and answer.autocorrect != meant:
                for end in range(len(typed) - 1, stands - 1, -1):
                    press(BACKSPACE, context, typed[:end])
                for end in range(stands + 1, len(meant) + 1):
                    press(LETTER, context, meant[:end])
            finished = (context, typed, meant, after)
        yield keys
        keys = []


# --------------------------------------------------------------------------------------- in other processes

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_START = """
import json, sys, time
from fedkey import Engine
Engine.open(sys.argv[1]).suggest("", "")
print(json.dumps(time.process_time()), flush=True)
"""


def _start_elsewhere(bundle: Path) -> dict[str, float]:
    """Seconds from nothing to the first suggestion: of the processor, and on the clock. The files are in the
    machine's memory, since they were read before."""
    started = time.perf_counter()
    with _process(_START, bundle) as process:
        assert process.stdout is not None
        cpu_s = float(process.stdout.readline() or "nan")
        wall_s = time.perf_counter() - started
    return {"cpu_s": cpu_s, "wall_s": wall_s}


def _type_elsewhere(bundle: Path, lines: Sequence[Line], report: Callable[[int], None]) -> dict[str, Any]:
    """What `type_here` measures."""
    keys: list[Key] = []
    with _process("from fedkey.cli.bench import type_here; type_here()", bundle) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        json.dump(lines, process.stdin)
        process.stdin.close()
        for line in lines:
            keys += [Key(*key) for key in json.loads(process.stdout.readline() or "[]")]
            report(num_keys(line))
        rest = process.stdout.readline()
    return {"keys": keys, **json.loads(rest)}


def type_here() -> None:
    """Types the lines on stdin into the bundle that `sys.argv[1]` names; prints the keys of each message, and
    at the end what the process has become. It imports no more than a keyboard would."""
    from fedkey.engine import Engine

    lines = [
        Line(before, message, tuple(Unit(*unit) for unit in units), after)
        for before, message, units, after in json.load(sys.stdin)
    ]
    engine = Engine.open(sys.argv[1])
    for keys in type_lines(engine, lines):
        print(json.dumps(keys), flush=True)
    print(json.dumps({"memory_mb": memory_mb(), "threads": num_threads()}), flush=True)


@contextmanager
def _process(program: str, bundle: Path) -> Iterator[subprocess.Popen[str]]:
    """A fresh interpreter on one thread. Ctrl-C does not reach it, it is ended from here.

    Raises:
        CalledProcessError: it failed; what it said stands on stderr.
    """
    command = [sys.executable, "-c", program, str(bundle)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | _ONE_THREAD,
        start_new_session=True,
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def memory_mb() -> dict[str, float | None]:
    """Resident memory of this process in units of 10^6 bytes, now and at its highest; None where there is no
    /proc. The files of the bundle that lie in memory are part of it.

    `resource.getrusage` would not do: a child inherits the highest value from whoever started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {"steady": None, "peak": None}
    values = dict(line.split(":", 1) for line in lines)
    megabytes = {name: int(values[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM")}
    # The kernel counts both a little late, and not at the same moment.
    return {"steady": megabytes["VmRSS"], "peak": max(megabytes.values())}


def num_threads() -> int | None:
    """Threads of this process; None where there is no /proc."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return None


# ------------------------------------------------------------------------------------------------ the figures


def figures(keys: Sequence[Key]) -> dict[str, Any]:
    """Percentiles of the processor's and the clock's milliseconds; None where no such key was pressed."""
    numbers: dict[str, Any] = {"count": len(keys)}
    for name, values in (
        ("cpu_ms", [key.cpu_ms for key in keys]),
        ("wall_ms", [key.wall_ms for key in keys]),
    ):
        numbers[name] = {f"p{percent}": percentile(values, percent) for percent in (50, 90, 99, 100)}
    return numbers


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest value that so many percent do not exceed."""
    if not values:
        return None
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def _print_tables(numbers: Mapping[str, Any]) -> None:
    from fedkey.cli.tables import print_blocks, table

    keys = numbers["keys"]
    total = sum(keys[kind]["count"] for kind in KEYS)
    sentence = (
        f"{total:,} keys of {typed_from(numbers)}, {MISTYPED:.0%} of the words mistyped. "
        f"{model_sentence(numbers)}; threads in the process: {or_dash(numbers['threads'], 'd')}."
    )
    times = (
        (
            kind,
            f"{own['count']:,}",
            *(or_dash(own["cpu_ms"][f"p{percent}"], ".2f") for percent in (50, 90, 99, 100)),
            or_dash(own["wall_ms"]["p99"], ".2f"),
        )
        for kind, own in keys.items()
        if own["count"] or kind != BETWEEN
    )
    goals = (beside_goal(*row) for row in _goal_rows(numbers))
    print_blocks(
        (
            sentence,
            table(("processor ms", "keys", "p50", "p90", "p99", "most", "clock p99"), times),
            table(("", "measured", "goal", ""), goals),
        )
    )


def typed_from(numbers: Mapping[str, Any]) -> str:
    """What was typed, and where."""
    place = f" in front of {numbers['words_behind']} words" if numbers["words_behind"] else ""
    return (numbers["text"] or "a made-up talk") + place


def model_sentence(numbers: Mapping[str, Any]) -> str:
    """What answered, without a full stop."""
    model = numbers["model"]
    return (
        f"{model['precision']} model of width {model['width']}, {model['layers']} layers and "
        f"{model['pieces']:,} pieces, bundle {model['bundle_bytes'] / 1e6:.1f} MB"
    )


def _goal_rows(numbers: Mapping[str, Any]) -> list[tuple[str, float | None, float, str]]:
    keys, goals = numbers["keys"], numbers["goals"]
    return [
        ("letter, p50", keys[LETTER]["cpu_ms"]["p50"], goals["letter_p50_ms"], "ms"),
        ("letter, p99", keys[LETTER]["cpu_ms"]["p99"], goals["letter_p99_ms"], "ms"),
        ("space, p99", keys[SPACE]["cpu_ms"]["p99"], goals["space_p99_ms"], "ms"),
        ("cold start to the first suggestion", numbers["cold_start"]["cpu_s"], goals["cold_start_s"], "s"),
        ("the same on the clock", numbers["cold_start"]["wall_s"], goals["cold_start_s"], "s"),
        ("memory after typing", numbers["memory_mb"]["steady"], goals["memory_mb"], "MB"),
        ("memory at its highest", numbers["memory_mb"]["peak"], goals["memory_mb"], "MB"),
    ]


def beside_goal(name: str, value: float | None, goal: float, unit: str) -> tuple[str, str, str, str]:
    """A line of the table of goals."""
    verdict = "" if value is None else "reached" if value <= goal else "missed"
    return name, f"{or_dash(value, '.2f')} {unit}", f"{goal:g} {unit}", verdict


def or_dash(value: float | None, form: str) -> str:
    """A number in some format, or a dash for what was not measured."""
    return "-" if value is None else format(value, form)
