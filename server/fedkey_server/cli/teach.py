"""`fedkey-server teach`: what a larger run expects of the server's text, for a smaller one to learn from.

In: the student's preset, a finished teacher, a data folder. Out: a file of lessons. Next stop:
`fedkey_server.teacher`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedkey.errors import UserError
from fedkey_server.cli.options import add_preset_options, load_config, use_threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_preset_options(parser)
    parser.add_argument("--data", type=Path, required=True, help="folder made by 'fedkey-server prepare'")
    parser.add_argument(
        "--teacher", type=Path, required=True, metavar="RUN", help="run or bundle with the same tokenizer"
    )
    parser.add_argument("--lessons", type=Path, required=True, metavar="FILE", help="file to write (.npz)")
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="only of the rows of the student's first N steps (default: all of the text)",
    )
    parser.add_argument(
        "--from-step",
        type=int,
        default=0,
        metavar="M",
        help="and not of those before step M, which go without lessons (default: %(default)s)",
    )
    parser.add_argument(
        "--named",
        type=int,
        default=32,
        metavar="K",
        help="likely pieces to keep of each place (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Asks the teacher and says how much there is to learn."""
    from fedkey_server import checkpoint
    from fedkey_server.batches import SERVER_TEXT, Documents, pack
    from fedkey_server.progress import track
    from fedkey_server.teacher import rows_of_steps, teach
    from fedkey_server.train import pick_device

    use_threads(arguments)
    config = load_config(arguments)
    data: Path = arguments.data
    teacher = checkpoint.load(arguments.teacher)
    theirs, ours = (folder / "tokenizer.model" for folder in (teacher.folder, data))
    if not ours.exists():
        raise UserError(f"{data} lacks {ours.name}; run 'fedkey-server prepare' first.")
    if theirs.read_bytes() != ours.read_bytes():
        raise UserError(f"{arguments.teacher} was made with another tokenizer than {data}.")
    window, largest = config.model.window, teacher.model_config.vocab_size
    checkpoint.refuse_shorter_window(data, window)
    if teacher.model_config.window < window:
        raise UserError(f"{arguments.teacher} has a window of {teacher.model_config.window}, not {window}.")
    if not 1 <= arguments.named <= largest:
        raise UserError(f"--named must be from 1 to {largest}, not {arguments.named}.")
    if arguments.steps is not None and arguments.steps < 1:
        raise UserError(f"--steps must be at least 1, not {arguments.steps}.")
    if not 0 <= arguments.from_step < (arguments.steps or 1):
        raise UserError(f"--from-step must be from 0 to less than --steps, not {arguments.from_step}.")
    rows = pack(Documents.load(data / SERVER_TEXT), window, window)
    if arguments.steps is not None:
        rows = rows.take(rows_of_steps(rows, config.train, range(arguments.from_step, arguments.steps)))
    device = pick_device()
    checkpoint.refuse_unwritable(arguments.lessons)
    with track(f"teach {arguments.lessons.name}", len(rows), "rows") as advance:
        lessons = teach(
            teacher.model().to(device).eval(),
            rows,
            checkpoint.sha256(data / SERVER_TEXT),
            arguments.named,
            config.train.batch_rows,
            device,
            advance,
        )
    lessons.save(arguments.lessons)
    named = lessons.probs.sum(axis=1, dtype="float32").mean() if len(lessons) else 0.0
    print(
        f"{arguments.lessons}: {len(lessons):,} places of {len(rows):,} rows, "
        f"the {arguments.named} pieces named at each are {named:.1%} of what was expected"
    )
    return 0
