"""The data folder: complete or absent, the same bytes after a kill, no phone's words on the server's side."""

from __future__ import annotations

import json
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from at_command import fedkey_server, with_overrides

from fedkey.commands import EXIT_MISTAKE, run_command
from fedkey.errors import UserError
from fedkey_export.lexicon_arrays import read_rows
from fedkey_server import checkpoint, vocabulary
from fedkey_server.batches import Documents
from fedkey_server.cli import SUBCOMMANDS
from fedkey_server.config import load
from fedkey_server.corpus import Split, read, split_of
from fedkey_server.phones import Phones
from fedkey_server.prepare import LICENCES, prepare
from fedkey_server.presets import preset_names
from fedkey_server.train import train

SERVER_SIDE = ("lexicon.tsv", "tokenizer.model", "server.npz")
DONOR_SHARE = 0.3
"""What the session's made-up chat is prepared with."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_looked_for_in_the_folder_given_and_heard_in_their_shares(
    tmp_path: Path, chat_file: Path, small_overrides: list[str]
) -> None:
    (tmp_path / "public.txt").write_text("the cat sat on the mat\nrun sudo apt-get install cat\n" * 2)
    overrides = [*small_overrides, f"corpus.phones={str(chat_file)!r}", "corpus.server=['public.txt']"]
    sizes = {}
    for share in (1.0, 3.0):
        data = tmp_path / str(share)
        prepare(load("tiny", [*overrides, f"corpus.shares=[{share}]"]), data, tmp_path)
        sizes[share] = len(Documents.load(data / "server.npz"))
    donors = (sizes[1.0] * 3 - sizes[3.0]) // 2
    assert sizes == {1.0: donors + 2, 3.0: donors + 6}  # the command is sifted out
    whole = tmp_path / "whole"
    prepare(load("tiny", [*overrides, "corpus.shares=[]"]), whole, tmp_path)
    assert len(Documents.load(whole / "server.npz")) == donors + 4


def test_a_list_with_capitals_lies_beside_the_text_and_is_named_among_the_sources(
    tmp_path: Path, chat_file: Path, small_overrides: list[str]
) -> None:
    cased = "vocabulary.cased_words='names.tsv'"
    overrides = [*small_overrides, f"corpus.phones={str(chat_file)!r}", "corpus.server=[]", cased]
    with pytest.raises(UserError, match=r"There is no file .*names\.tsv"):
        prepare(load("tiny", overrides), tmp_path / "data", tmp_path)
    for casing in ("Zebra", "zebra"):
        (tmp_path / "names.tsv").write_text(f"word\tfreq\tflags\n{casing}\t99\t\n")
        assert prepare(load("tiny", [*overrides, "vocabulary.max_words=20000"]), tmp_path / "data", tmp_path)
        words = {entry.word for entry in read_rows(tmp_path / "data" / "lexicon.tsv")}
        assert words & {"zebra", "Zebra"} == {casing}
    lists = json.loads((tmp_path / "data" / "sources.json").read_text())["lists"]
    assert "names.tsv" in [each["name"] for each in lists]


# --- once, and again when something changed --------------------------------------------------------------


def test_a_second_call_touches_nothing(tiny_data: Path, small_overrides: list[str]) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in tiny_data.iterdir()}
    assert not prepare(load("tiny", [*small_overrides, "train.num_steps=1"]), tiny_data)
    assert {path.name: path.stat().st_mtime_ns for path in tiny_data.iterdir()} == before


def test_another_text_builds_anew(tmp_path: Path, chat_file: Path, small_overrides: list[str]) -> None:
    chat = Path(shutil.copyfile(chat_file, tmp_path / "chat.jsonl"))
    config, data = load("tiny", [*small_overrides, f"corpus.phones={str(chat)!r}"]), tmp_path / "data"
    assert prepare(config, data)
    chat.write_text("".join(chat.read_text().splitlines(keepends=True)[:-1]))
    assert prepare(config, data)
    assert not prepare(config, data)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("vocabulary.max_words=500", "with vocabulary.max_words 4000, which is now 500; "),
        ("model.window=64", "with model.window 128, which is now 64; "),
    ],
)
def test_data_of_other_settings_are_kept_for_the_runs_that_were_made_from_them(
    setting: str,
    said: str,
    tmp_path: Path,
    tiny_data: Path,
    small_overrides: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    told = with_overrides(*small_overrides, setting)
    assert fedkey_server("prepare", "tiny", "--data", data, *told) == EXIT_MISTAKE
    complaint = f"fedkey-server: {data} was prepared {said}"
    remedy = "give another --data, or delete the folder to prepare it anew.\n"
    assert capsys.readouterr().err == complaint + remedy
    assert contents(data) == contents(tiny_data)


def test_a_folder_of_before_there_was_a_setting_is_built_anew(
    tmp_path: Path, tiny_data: Path, small_overrides: list[str]
) -> None:
    older = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    told = json.loads((older / "complete.json").read_text())
    del told["corpus"]["shares"], told["window"]
    (older / "complete.json").write_text(json.dumps(told))
    assert prepare(load("tiny", small_overrides), older)
    assert contents(older) == contents(tiny_data)


def remove(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("server.npz", remove),
        ("tokenizer.model", cut_short),
        pytest.param("lexicon.tsv", cut_short, marks=pytest.mark.slow),
        pytest.param("test.jsonl", cut_short, marks=pytest.mark.slow),
    ],
)
def test_a_missing_or_damaged_file_builds_anew_and_is_named(
    tmp_path: Path,
    tiny_data: Path,
    small_overrides: list[str],
    caplog: pytest.LogCaptureFixture,
    name: str,
    spoil: Callable[[Path], None],
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    config = load("tiny", small_overrides)
    assert not prepare(config, data)
    spoil(data / name)
    assert prepare(config, data)
    assert caplog.messages == [f"missing or damaged in {data}: {name}; the data are prepared again"]
    assert contents(data) == contents(tiny_data)
    assert not prepare(config, data)


def test_a_folder_of_before_there_were_digests_is_there_if_its_files_are(
    tmp_path: Path, tiny_data: Path, small_overrides: list[str]
) -> None:
    older = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    told = json.loads((older / "complete.json").read_text())
    del told["files"]
    (older / "complete.json").write_text(json.dumps(told))
    assert not prepare(load("tiny", small_overrides), older)
    (older / "phones.npz").unlink()
    assert prepare(load("tiny", small_overrides), older)
    assert contents(older) == contents(tiny_data)


def test_other_lists_of_words_build_anew(
    tmp_path: Path, small_overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, data = load("tiny", [*small_overrides, "vocabulary.max_words=500"]), tmp_path / "data"
    assert prepare(config, data)
    assert not prepare(config, data)
    monkeypatch.setattr(vocabulary, "MISSPELT", vocabulary.MISSPELT | {"the"})
    assert prepare(config, data)
    assert "the" not in {entry.word for entry in read_rows(data / "lexicon.tsv")}


def test_data_for_who_goes_on_from_a_bundle_speak_in_its_pieces(
    tmp_path: Path, chat_file: Path, small_overrides: list[str], tiny_bundle: Path
) -> None:
    (tmp_path / "public.txt").write_text("zebras quizzically vexed the jumpy wizard\n" * 400)
    overrides = [*small_overrides, f"corpus.phones={str(chat_file)!r}", "corpus.server=['public.txt']"]
    own, like = tmp_path / "own", tmp_path / "like"
    assert prepare(load("tiny", overrides), own, tmp_path)
    assert prepare(load("tiny", overrides), like, tmp_path, tiny_bundle)
    pieces = {
        name: (folder / "tokenizer.model").read_bytes()
        for name, folder in (("own", own), ("like", like), ("bundle", tiny_bundle))
    }
    assert pieces["own"] != pieces["like"] == pieces["bundle"]
    assert (own / "lexicon.tsv").read_bytes() == (like / "lexicon.tsv").read_bytes()
    assert not prepare(load("tiny", overrides), like, tmp_path, tiny_bundle)
    assert prepare(load("tiny", overrides), like, tmp_path)  # without, it is trained as ever
    assert contents(like) == contents(own)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda bundle: (bundle / "tokenizer.model").unlink(), "Cannot read the tokenizer"),
        (lambda bundle: None, "has 400 pieces, and tokenizer.vocab_size says 600; use the preset"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path,
    small_overrides: list[str],
    tiny_bundle: Path,
    spoil: Callable[[Path], None],
    said: str,
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    spoil(bundle)
    sizes = ["tokenizer.vocab_size=600", "model.vocab_size=600"]
    with pytest.raises(UserError, match=re.escape(said)):
        prepare(load("tiny", [*small_overrides, *sizes]), tmp_path / "data", like=bundle)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "killed_at",
    [("os.rename", "server.npz"), pytest.param(("os.rename", "complete.json"), marks=pytest.mark.slow)],
)
def test_killed_and_called_again_it_gives_the_bytes_of_an_unkilled_run(
    tmp_path: Path,
    tiny_data: Path,
    small_overrides: list[str],
    killed: Callable[..., None],
    killed_at: tuple[str, str],
) -> None:
    data = tmp_path / "data"
    killed(["prepare", "tiny", "--data", str(data), *with_overrides(*small_overrides)], killed_at)
    assert (data / "tokenizer.model").exists()
    assert not (data / "complete.json").exists()

    assert prepare(load("tiny", small_overrides), data)
    assert contents(data) == contents(tiny_data)


def test_two_do_not_prepare_one_folder_at_once(tmp_path: Path, small_overrides: list[str]) -> None:
    (tmp_path / "server.npz").write_text("of the other one")
    with (
        checkpoint.hold(tmp_path),
        pytest.raises(UserError, match=r"Another process is at work on .*; wait for it"),
    ):
        prepare(load("tiny", small_overrides), tmp_path)
    assert (tmp_path / "server.npz").read_text() == "of the other one"


def test_a_rebuild_that_fails_does_not_pass_for_the_old_data(
    tmp_path: Path, chat_file: Path, small_overrides: list[str]
) -> None:
    chat = Path(shutil.copyfile(chat_file, tmp_path / "chat.jsonl"))
    config, data = load("tiny", [*small_overrides, f"corpus.phones={str(chat)!r}"]), tmp_path / "data"
    prepare(config, data)
    chat.write_text("".join(chat.read_text().splitlines(keepends=True)[:40]))
    with pytest.raises(UserError, match="and none of them is a "):
        prepare(config, data)
    with pytest.raises(UserError, match=r"lacks .*run 'fedkey-server prepare' first"):
        train(config, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["in a file", "a file", "no room"])
def test_a_place_that_cannot_be_written_is_one_sentence_and_status_2(
    place: str, tmp_path: Path, small_overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("dear")
    folder = tmp_path / {"in a file": "file/data", "a file": "file", "no room": "data"}[place]
    settings = with_overrides(*small_overrides)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 if place == "no room" else soft, hard))
    try:
        arguments = ["prepare", "tiny", "--data", str(folder), *settings]
        assert run_command("fedkey-server", "", SUBCOMMANDS, arguments=arguments) == EXIT_MISTAKE
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith(f"fedkey-server: Cannot write the data folder {folder}: ")
    assert complaint.endswith("; make room and prepare again, or give another --data.")
    assert (tmp_path / "file").read_text() == "dear"


@pytest.mark.parametrize("option", [["--threads", "2"], ["--verbose"]])
def test_options_of_commands_that_compute_are_not_offered(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["prepare", "tiny", "--data", str(tmp_path / "data"), *option]
    with pytest.raises(SystemExit):
        run_command("fedkey-server", "", SUBCOMMANDS, arguments=arguments)
    assert f"unrecognized arguments: {' '.join(option)}" in capsys.readouterr().err


def test_text_that_lies_where_a_file_will_be_is_kept(
    tmp_path: Path, chat_file: Path, small_overrides: list[str]
) -> None:
    text = Path(shutil.copyfile(chat_file, tmp_path / "test.jsonl"))
    with pytest.raises(UserError, match=r"The text .*test\.jsonl would be written over; give another --data"):
        prepare(load("tiny", [*small_overrides, f"corpus.phones={str(text)!r}"]), tmp_path)
    assert contents(tmp_path) == {"test.jsonl": chat_file.read_bytes()}


def test_the_help_lists_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fedkey_server("prepare", "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert f"a preset's name ({' or '.join(preset_names())}) or the path" in said
    assert {"phone", "tiny"} <= {*preset_names()}


def test_a_missing_source_is_one_sentence(tmp_path: Path, small_overrides: list[str]) -> None:
    with pytest.raises(UserError, match=r"There is no file .*absent\.jsonl; .* with --text DIR\."):
        prepare(
            load("tiny", [*small_overrides, f"corpus.phones={str(tmp_path / 'absent.jsonl')!r}"]), tmp_path
        )


# --- whose words go where --------------------------------------------------------------------------------


def with_others_words_changed(chat_file: Path, folder: Path, change: Callable[[str], str]) -> Path:
    """The same chat, in which everybody but the donors types something else."""
    folder.mkdir()
    changed = folder / chat_file.name
    with chat_file.open() as before, changed.open("w") as after:
        for line in before:
            row = json.loads(line)
            if split_of(f"chat/{row['user']}", DONOR_SHARE) is not Split.SERVER:
                row["text"] = change(row["text"])
            after.write(json.dumps(row) + "\n")
    return changed


@pytest.mark.parametrize("num_authors", [0, 3])
def test_too_few_people_are_one_sentence(
    tmp_path: Path, small_overrides: list[str], num_authors: int
) -> None:
    """Authorless text, or that of a handful of friends, leaves nobody to hold out."""
    rows = [
        {
            "user": n % num_authors if num_authors else None,
            "dialog": n // 4,
            "turn": n,
            "text": f"hello number {n}",
        }
        for n in range(400)
    ]
    text = tmp_path / "few.jsonl"
    text.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load("tiny", [*small_overrides, f"corpus.phones={str(text)!r}"])
    with pytest.raises(UserError, match=rf"few\.jsonl has {num_authors} authors, and none of them is a "):
        prepare(config, tmp_path / "data")
    assert not (tmp_path / "data" / "complete.json").exists()


def test_nothing_that_phones_type_reaches_the_lexicon_the_tokenizer_or_the_servers_text(
    tmp_path: Path, tiny_data: Path, chat_file: Path, small_overrides: list[str]
) -> None:
    def change(text: str) -> str:
        return re.sub(r"\w+", "Zyxomma", text) + " so Zyxomma, teh qqq"

    other_chat = with_others_words_changed(chat_file, tmp_path / "other", change)
    data = tmp_path / "data"
    prepare(load("tiny", [*small_overrides, f"corpus.phones={str(other_chat)!r}"]), data)
    assert contents(data)["phones.npz"] != contents(tiny_data)["phones.npz"]
    for name in SERVER_SIDE:
        assert contents(data)[name] == contents(tiny_data)[name], name
    assert "zyxomma" not in vocabulary.forms_of(read_rows(data / "lexicon.tsv"))


def test_phones_and_held_out_authors_are_different_people(tiny_data: Path) -> None:
    names = {
        name: {json.loads(line)["author"] for line in (tiny_data / f"{name}.jsonl").read_text().splitlines()}
        for name in ("validation", "test")
    }
    names["phone"] = set(Phones.load(tiny_data / "phones.npz").names)
    for name, authors in names.items():
        assert authors
        assert {split_of(author, DONOR_SHARE) for author in authors} == {Split(name)}
    held_out = Phones.load(tiny_data / "validation.npz")
    assert set(held_out.names) == names["validation"]
    assert Documents.load(tiny_data / "validation.npz").ids.tolist() == held_out.all_documents.ids.tolist()


def test_a_phone_is_trained_on_its_own_messages_with_the_partners_as_context(tiny_data: Path) -> None:
    phones = Phones.load(tiny_data / "phones.npz")
    for phone in range(len(phones)):
        documents = phones.documents(phone)
        assert 0.2 < documents.loss.mean() < 0.8


# --- sources ---------------------------------------------------------------------------------------------


def test_sources_and_licences_are_recorded(tiny_data: Path, chat_file: Path) -> None:
    sources = json.loads((tiny_data / "sources.json").read_text())
    report = read(str(chat_file))[1]
    assert sources["text"] == [
        {
            "name": "chat.jsonl",
            "licence": "as given by whoever supplied the file",
            "messages": report.num_messages,
            "words": report.num_words,
        }
    ]
    licences = {row["name"]: row["licence"] for row in sources["lists"]}
    assert "CC BY-SA 4.0" in licences["wordfreq"]
    assert licences.keys() == {"wordfreq", "pyspellchecker", "better-profanity", "faker"}


def test_every_source_that_a_preset_names_has_a_licence() -> None:
    named = {source for preset in preset_names() for source in load(preset).corpus.server}
    named |= {load(preset).corpus.phones for preset in preset_names()}
    named |= {load(preset).vocabulary.cased_words for preset in preset_names()} - {""}
    assert named == set(LICENCES)
