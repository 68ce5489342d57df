"""`fedkey-server`: the command of the person who trains and federates.

In: arguments. Out: run folders, tables. Next stop: `fedkey_server.corpus`.
"""

from fedkey.commands import Subcommand, run_command

SUBCOMMANDS = {
    "data": Subcommand(
        "fedkey_server.cli.data",
        "Say what text files hold: authors, messages, words, rejects.",
        goes_on=False,
    ),
    "prepare": Subcommand(
        "fedkey_server.cli.prepare",
        "Build lexicon, tokenizer and token ids from a preset's text.",
        goes_on=False,
    ),
    "train": Subcommand(
        "fedkey_server.cli.train", "Train a model centrally; resumes a run that was stopped."
    ),
    "teach": Subcommand(
        "fedkey_server.cli.teach",
        "Write down what a larger run expects, for a smaller one to learn from.",
        goes_on=False,
    ),
    "federate": Subcommand("fedkey_server.cli.federate", "Fine-tune a model on simulated phones by FedAvg."),
    "count": Subcommand(
        "fedkey_server.cli.count",
        "Count which n-grams many phones have, for 'fedkey-export ngrams'.",
        goes_on=False,
    ),
    "average": Subcommand(
        "fedkey_server.cli.average",
        "Average runs that began alike: one model, often better than each.",
        goes_on=False,
    ),
    "phone": Subcommand(
        "fedkey_server.cli.phone", "Take part in a federation with what a keyboard wrote down."
    ),
    "registry": Subcommand(
        "fedkey_server.cli.registry", "Say who is a phone of a federation, by public keys.", goes_on=False
    ),
    "watch": Subcommand(
        "fedkey_server.cli.watch", "Watch a run on a screen, or draw its charts.", goes_on=False
    ),
    "evaluate": Subcommand(
        "fedkey_server.cli.evaluate", "Compare bundles on authors no stage has seen.", goes_on=False
    ),
    "audit": Subcommand(
        "fedkey_server.cli.audit", "Test a federation's protections, each with and without it."
    ),
    "releases": Subcommand(
        "fedkey_server.cli.releases", "Keep a registry of bundles: list, add, promote, review, roll back."
    ),
}


def main() -> int:
    """Entry point of the console script."""
    return run_command(
        "fedkey-server",
        "Trains fedkey's language model and federates its fine-tuning.",
        SUBCOMMANDS,
        extra="server",
    )
