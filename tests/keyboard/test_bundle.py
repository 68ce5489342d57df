"""Opening bundles that were truncated, altered, swapped, oversized, or made for another keyboard."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedkey import Engine
from fedkey.bundle import (
    _LARGEST,
    CORRECTION,
    DICTIONARY,
    FEATURES,
    FORMAT,
    LEXICON_ARRAYS,
    MANIFEST,
    MAX_BUNDLE_BYTES,
    MAX_MANIFEST_BYTES,
    MIXTURE,
    MODEL,
    NGRAM_ARRAYS,
    OPTIONAL,
    SPECIAL_IDS,
    TOKENIZER,
    TOKENIZER_KEY,
    BundleError,
    FileEntry,
    Manifest,
    ModelEntry,
    lexicon_file,
    open_bundle,
)
from fedkey.candidates import MAX_COST, ErrorModel
from fedkey.channel import LETTERS, SIZE, SpellingChannel
from fedkey.corrections import CorrectionModel
from fedkey.dictionary import BITS_PER_WORD, NUM_BITS_SET
from fedkey.judge import CHOICE_INPUTS, LITERAL_INPUTS, Network
from fedkey.mixture import FLOORS, LEAST, MAX_UNITS, PLACE_INPUTS, WORD_INPUTS, Mixture
from fedkey.model import LanguageModel, expected_signature
from fedkey.pieces import START_ID

Json = dict[str, Any]


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def manifest_of(bundle: Path) -> Json:
    return json.loads((bundle / MANIFEST).read_text())


def change(bundle: Path, edit: Callable[[Json], object]) -> None:
    manifest = manifest_of(bundle)
    edit(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def replace(bundle: Path, name: str, content: bytes) -> None:
    """Puts a file in and has the manifest vouch for it, as someone who knows the format would."""
    (bundle / name).write_bytes(content)
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(bundle, lambda manifest: manifest["files"].update({name: entry}))


def refusal(bundle: Path) -> str:
    """The one sentence with which opening, or else loading, is refused."""
    with pytest.raises(BundleError) as refused:
        LanguageModel(open_bundle(bundle))
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_an_exported_bundle_opens(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    arrays = bundle.lexicon_arrays()
    assert set(arrays) == set(LEXICON_ARRAYS)
    assert all(isinstance(array, np.memmap) and not array.flags.writeable for array in arrays.values())
    assert bundle.model_bytes() == (tiny_bundle / MODEL).read_bytes()
    assert bundle.tokenizer_bytes() == (tiny_bundle / TOKENIZER).read_bytes()
    assert bundle.manifest.to_json() == (tiny_bundle / MANIFEST).read_text()


# ------------------------------------------------------------------------------------------------- folder


def test_there_is_no_folder(tmp_path: Path) -> None:
    assert "no bundle at" in refusal(tmp_path / "nothing")


def test_a_file_is_no_bundle(tiny_bundle: Path) -> None:
    assert "no bundle at" in refusal(tiny_bundle / MODEL)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert "holds no manifest.json" in refusal(tmp_path)


def test_files_that_the_manifest_does_not_name_do_no_harm(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("hello")
    open_bundle(bundle)


# ----------------------------------------------------------------------------------------------- manifest


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"format"', pytest.param("[" * 100_000, id="deep"), "\ud800{}"],
    ids=repr,
)
def test_a_manifest_that_is_no_json_object(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_bytes(text.encode("utf-8", errors="surrogatepass"))
    assert "manifest.json is not readable JSON" in refusal(bundle) or "format None" in refusal(bundle)


def test_an_oversized_manifest_is_not_read(bundle: Path) -> None:
    change(bundle, lambda manifest: manifest["metrics"].update(padding="x" * MAX_MANIFEST_BYTES))
    assert "instead of at most 1,000,000" in refusal(bundle)


@pytest.mark.parametrize(
    ("number", "advice"),
    [(3, "update the keyboard"), (0, "export the model again"), ("1", "export the model again"),
     (None, "export the model again"), (True, "export the model again")],
)  # fmt: skip
def test_another_format_is_named(bundle: Path, number: object, advice: str) -> None:
    change(bundle, lambda manifest: manifest.update(format=number))
    sentence = refusal(bundle)
    assert f"has format {number!r}" in sentence
    assert advice in sentence


def test_a_newer_format_is_named_before_its_unknown_fields(bundle: Path) -> None:
    change(bundle, lambda manifest: (manifest.update(format=7, novelty={}), manifest.pop("model")))
    assert "has format 7" in refusal(bundle)


def test_an_unknown_required_feature_is_refused(bundle: Path) -> None:
    change(bundle, lambda manifest: manifest["features"].append("telepathy"))
    assert "needs telepathy, which this keyboard lacks: update the keyboard" in refusal(bundle)


def test_an_unknown_optional_feature_is_ignored(bundle: Path) -> None:
    change(bundle, lambda manifest: manifest["features"].append("opt_telepathy"))
    open_bundle(bundle)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda m: m.update(text_rules=99), "text rules 99"),
        (lambda m: m["special_ids"].update(end=5), "special ids"),
        (lambda m: m["special_ids"].pop("pad"), "special ids"),
        (lambda m: m["files"].pop(MODEL), "does not list model.onnx"),
        (lambda m: m["files"].pop(lexicon_file("flags")), "does not list lexicon/flags.npy"),
        (lambda m: m["files"].update({"../outside.bin": m["files"][MODEL]}), "may lie outside it"),
        (lambda m: m["files"].update({"/etc/hostname": m["files"][MODEL]}), "may lie outside it"),
        (lambda m: m["files"].update({"a/b/c.npy": m["files"][MODEL]}), "may lie outside it"),
        (lambda m: m["files"].update({"..\\c.npy": m["files"][MODEL]}), "may lie outside it"),
        (lambda m: m["files"].update({"extra.bin": m["files"][MODEL]}), "lacks extra.bin"),
        (lambda m: m["files"][MODEL].update(bytes=MAX_BUNDLE_BYTES), "larger than 500,000,000 bytes"),
        (lambda m: m["files"][MODEL].update(bytes=-1), "malformed"),
        (lambda m: m["files"][MODEL].update(sha256="A" * 64), "malformed"),
        (lambda m: m.update(num_words=m["num_words"] + 1), "number of words"),
        (lambda m: m.update(num_words=10**400), "malformed"),
        (lambda m: m.pop("layout"), "no field 'layout'"),
        (lambda m: m.update(surprise=1), "unknown field 'surprise'"),
        (lambda m: m.update(languages="en"), "field 'languages'"),
        (lambda m: m.update(languages=[1]), "field 'languages'"),
        (lambda m: m.update(model=[]), "ModelEntry is not an object"),
        (lambda m: m["model"].update(width=10**9), "width must lie between"),
        (lambda m: m["model"].update(num_layers=0), "num_layers must lie between"),
        (lambda m: m["model"].update(num_layers=2.0), "field 'num_layers'"),
        (lambda m: m["model"].update(num_layers=True), "field 'num_layers'"),
        (lambda m: m["model"].update(norm_epsilon=float("nan")), "field 'norm_epsilon'"),
        (lambda m: m["model"].update(precision="int4"), "precision 'int4'"),
        (lambda m: m["model"].update(attention="linear"), "format 1 knows no attention 'linear'"),
        (lambda m: (m.update(format=2), m["model"].update(attention="other")), "attention 'other'"),
        (lambda m: (m.update(format=2), m["model"].update(attention="sliding", span=0)), "span must lie"),
        (lambda m: (m.update(format=2), m["model"].update(attention="sliding", span=129)), "exceed window"),
        (lambda m: (m.update(format=2), m["model"].update(attention="linear")), "does not offer 'visible'"),
        (lambda m: m["model"].update(cache_slots=m["model"]["window"]), "cache_slots must exceed window"),
        (lambda m: m["model"].update(window=15), "window must be at least 16"),
        (lambda m: m["model"].update(num_heads=3), "numbers of heads"),
        (lambda m: m["model"].update(num_layers=256, cache_slots=1 << 14), "cache is too large"),
        (lambda m: m["model"].update(head_size=8, num_heads=m["model"]["width"] // 8), "multiples of 16"),
    ],
)  # fmt: skip
def test_a_manifest_that_must_not_be_believed(
    bundle: Path, edit: Callable[[Json], object], expected: str
) -> None:
    change(bundle, edit)
    assert expected in refusal(bundle)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@given(data=st.data(), value=LEAVES)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_in_a_manifest_raises_anything_else(
    bundle: Path, data: st.DataObject, value: object
) -> None:
    original = (bundle / MANIFEST).read_bytes()
    try:
        manifest = manifest_of(bundle)
        place: Any = manifest
        key = data.draw(st.sampled_from(sorted(place)))
        while isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
            place = place[key]
            key = data.draw(st.sampled_from(sorted(place)))
        place[key] = value
        (bundle / MANIFEST).write_text(json.dumps(manifest))
        with contextlib.suppress(BundleError):
            LanguageModel(open_bundle(bundle))
    finally:
        (bundle / MANIFEST).write_bytes(original)


# -------------------------------------------------------------------------------------------------- files


def every_file(tiny_bundle: Path) -> list[str]:
    return sorted(manifest_of(tiny_bundle)["files"])


def test_each_file_is_needed_whole_and_as_it_was(bundle: Path) -> None:
    rng = np.random.default_rng(0)
    for name in every_file(bundle):
        content = (bundle / name).read_bytes()
        (bundle / name).write_bytes(content[:-1])
        assert f"{name} has {len(content) - 1:,} bytes instead of" in refusal(bundle)
        (bundle / name).write_bytes(content + b"\0")
        assert f"{name} has {len(content) + 1:,} bytes instead of" in refusal(bundle)
        altered = bytearray(content)
        altered[rng.integers(len(content))] ^= 1 << rng.integers(8)
        (bundle / name).write_bytes(bytes(altered))
        assert f"{name} is not the file that was exported" in refusal(bundle)
        (bundle / name).unlink()
        assert f"lacks {name}" in refusal(bundle)
        (bundle / name).mkdir()
        assert "no regular file" in refusal(bundle)
        (bundle / name).rmdir()
        (bundle / name).write_bytes(content)
    open_bundle(bundle)


def test_links_are_not_followed(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(bundle / MODEL, outside)
    (bundle / MODEL).symlink_to(outside)
    assert "model.onnx is a link" in refusal(bundle)
    (bundle / MODEL).unlink()
    shutil.move(outside, bundle / MODEL)
    shutil.move(bundle / "lexicon", tmp_path / "lexicon")
    (bundle / "lexicon").symlink_to(tmp_path / "lexicon", target_is_directory=True)
    assert "is a link" in refusal(bundle)


def test_a_file_altered_after_opening_is_not_loaded(bundle: Path) -> None:
    opened = open_bundle(bundle)
    content = bytearray((bundle / MODEL).read_bytes())
    content[100] ^= 1
    (bundle / MODEL).write_bytes(bytes(content))
    with pytest.raises(BundleError, match="altered while it was in use"):
        opened.model_bytes()


def npy(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def lying_header(bundle: Path) -> bytes:
    content = npy(np.zeros(4, dtype=np.uint8))
    return content.replace(b"(4,)", b"(9,)")


@pytest.mark.parametrize(
    "content",
    [
        lambda b: b"not an array",
        lambda b: npy(np.array([{"a": 1}], dtype=object), allow_pickle=True),
        lambda b: npy(np.zeros(4, dtype=np.float32)),
        lambda b: npy(np.zeros((2, 2), dtype=np.uint8)),
        lambda b: npy(np.zeros(0, dtype=np.uint8)),
        lambda b: npy(np.zeros((), dtype=np.uint8)),
        lambda b: npy(np.zeros(4, dtype=np.uint8), version=(2, 0)),
        lambda b: b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 0xFFFF,
        lying_header,
        lambda b: npy(np.zeros(4, dtype=np.uint8))[:40],
        *(
            lambda b, header=header: (
                b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"1234"
            )
            for header in (
                b"[" * 900,
                b"(4,)",
                b"\x00",
                b"{'descr': '|u1', 'fortran_order': False}",
                b"{'descr': '|u1', 'fortran_order': 0, 'shape': (4,)}",
                b"{'descr': '|u1', 'fortran_order': False, 'shape': (True,)}",
                b"{'descr': ['|u1'], 'fortran_order': False, 'shape': (4,)}",
                b"{'descr': '|u1', 'fortran_order': False, 'shape': 4}",
                b"{'descr': '|u1', 'fortran_order': False, 'shape': (4,), 4: 4}",
                b"{'descr': '|u1', 'fortran_order': False, 'shape': (4,)}".ljust(1001),
                b"{['descr']: '|u1'}",
                b"__import__('os')",
            )
        ),
    ],
)
def test_an_array_file_that_is_something_else(bundle: Path, content: Callable[[Path], bytes]) -> None:
    replace(bundle, lexicon_file("flags"), content(bundle))
    assert "lexicon/flags.npy is no" in refusal(bundle) or "is not the kind of array" in refusal(bundle)


def test_every_array_has_its_dtype_checked(bundle: Path) -> None:
    for name in (*map(lexicon_file, LEXICON_ARRAYS), DICTIONARY):
        original = (bundle / name).read_bytes()
        array = np.load(bundle / name)
        wrong = array.astype(array.dtype.newbyteorder(">") if array.itemsize > 1 else np.int64)
        replace(bundle, name, npy(wrong))
        assert f"{name} is not the kind of array" in refusal(bundle)
        replace(bundle, name, original)


# -------------------------------------------------------------------------------------------------- graph


def test_a_swapped_tokenizer_is_told_by_the_graph(bundle: Path) -> None:
    replace(bundle, TOKENIZER, (bundle / TOKENIZER).read_bytes() + b"\0")
    assert "tokenizer is not the one its model was trained with" in refusal(bundle)


def test_a_model_that_is_no_graph(bundle: Path) -> None:
    for content in (b"", b"hello", bytes(1000)):
        replace(bundle, MODEL, content)
        assert "no graph that ONNX Runtime can load" in refusal(bundle)


def edit_graph(bundle: Path, edit: Callable[[onnx.ModelProto], object]) -> None:
    model = onnx.load_from_string((bundle / MODEL).read_bytes())
    edit(model)
    replace(bundle, MODEL, model.SerializeToString())


def test_a_model_of_another_shape_than_the_manifest_says(bundle: Path) -> None:
    change(bundle, lambda manifest: manifest["model"].update(vocab_size=manifest["model"]["vocab_size"] + 1))
    assert "does not offer 'log_probs' as its manifest says" in refusal(bundle)


def test_a_model_without_an_output(bundle: Path) -> None:
    edit_graph(bundle, lambda model: model.graph.output.remove(model.graph.output[0]))
    assert "does not offer 'hidden'" in refusal(bundle)


def test_a_model_with_weights_outside_the_bundle(bundle: Path) -> None:
    def move_out(model: onnx.ModelProto) -> None:
        tensor = next(each for each in model.graph.initializer if each.name == "model.norm.weight")
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/hostname")

    edit_graph(bundle, move_out)
    assert "no graph that ONNX Runtime can load" in refusal(bundle)


def test_a_model_whose_answers_are_no_numbers(bundle: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        tensor = next(each for each in model.graph.initializer if each.name == "model.norm.weight")
        tensor.raw_data = np.full(tensor.dims[0], np.nan, dtype=np.float32).tobytes()

    edit_graph(bundle, spoil)
    assert "gives no probabilities" in refusal(bundle)


def test_corrections_that_are_none_are_a_bundle_that_is_none(bundle: Path) -> None:
    text = CorrectionModel().to_json()
    replace(bundle, CORRECTION, text.encode())
    Engine.open(bundle).close()
    for content in (b"", b"\xff", text[:-4].encode(), text.replace("missing_double", "mising").encode()):
        replace(bundle, CORRECTION, content)
        with pytest.raises(BundleError, match=r"correction\.json is malformed \(.*\); export or download"):
            Engine.open(bundle)


def test_a_mixture_that_is_none_is_a_bundle_that_is_none(bundle: Path) -> None:
    words, places = [0.0] * len(WORD_INPUTS), [0.0] * len(PLACE_INPUTS)
    values = {"by_word": [words], "by_place": [places], "bias": [1.0], "out": [0.5], "out_bias": 0.0}
    text = json.dumps(values)
    replace(bundle, MIXTURE, text.encode())
    Engine.open(bundle).close()
    for content in (b"", b"\xff", b"[" * 100_000, text[:-4].encode(), text.replace("bias", "bais").encode()):
        replace(bundle, MIXTURE, content)
        with pytest.raises(BundleError, match=r"mixture\.json is malformed \(.*\); export or download"):
            Engine.open(bundle)


def test_a_tokenizer_that_is_none_is_a_bundle_that_is_none(bundle: Path) -> None:
    for content in (b"", b"hello"):
        replace(bundle, TOKENIZER, content)
        with pytest.raises(BundleError, match="not a SentencePiece model"):
            Engine.open(bundle)


# ---------------------------------------------------------------------------------------------- BUNDLE.md

KEYBOARD = Path(__file__).parents[2] / "keyboard"
DOCUMENT = (KEYBOARD / "BUNDLE.md").read_text(encoding="utf-8")


def rows_of_table(title: str) -> list[list[str]]:
    """Cells of the tables whose first column has this title."""
    rows = []
    for table in re.findall(rf"^\| {title} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE):
        rows += [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    return rows


def names_in_table(title: str) -> list[str]:
    return [name for row in rows_of_table(title) for name in re.findall(r"`([^`]+)`", row[0])]


def test_every_field_is_described_once_and_in_order() -> None:
    kinds = (Manifest, FileEntry, ModelEntry, CorrectionModel, ErrorModel, SpellingChannel, Network)
    assert names_in_table("field") == [field.name for kind in kinds for field in dataclasses.fields(kind)]


def test_every_input_of_the_judge_is_described_in_order() -> None:
    assert tuple(names_in_table("input of a choice")) == CHOICE_INPUTS
    assert tuple(names_in_table("input of the letters")) == LITERAL_INPUTS


def test_every_limit_is_told() -> None:
    told = {row[0].strip("`"): row[3] for row in rows_of_table("field") if len(row) == 4}
    for name, limit in _LARGEST.items():
        assert told[name] == f"2^{limit.bit_length() - 1}"
    assert f"{MAX_MANIFEST_BYTES:,} bytes" in DOCUMENT
    assert f"{MAX_BUNDLE_BYTES:,} bytes" in DOCUMENT
    assert f"| `format` | integer | {FORMAT}. " in DOCUMENT
    assert f"`{json.dumps(dict(SPECIAL_IDS))}`" in DOCUMENT
    assert f"{SIZE} rows of {SIZE} costs. Rows and columns stand for `{LETTERS}`" in DOCUMENT
    assert f"costs are in nats, from 0 to {MAX_COST:g}." in DOCUMENT


def test_every_feature_and_array_is_described() -> None:
    assert set(names_in_table("feature")) == FEATURES
    assert f"`{OPTIONAL}`" in DOCUMENT
    arrays = {**LEXICON_ARRAYS, **NGRAM_ARRAYS}
    assert names_in_table("array") == list(arrays)
    dtypes = {"|u1": "uint8", "<u2": "uint16", "<u4": "uint32", "<f4": "float32"}
    told = [row[1] for row in rows_of_table("array")]
    assert told == [" or ".join(dtypes[dtype] for dtype in each) for each in arrays.values()]


def test_a_dictionary_is_described() -> None:
    assert f"takes {BITS_PER_WORD} bits" in DOCUMENT
    assert f"for i from 0 to {NUM_BITS_SET - 1}" in DOCUMENT


def test_a_mixture_is_described() -> None:
    network = Mixture(np.zeros((1, 9)), np.zeros((1, 5)), np.zeros(1), np.zeros(1), 0.0)
    assert names_in_table("part") == list(json.loads(network.to_json()))
    assert f"A network of H units, 1 to {MAX_UNITS}," in DOCUMENT
    assert f"H rows of {len(WORD_INPUTS)} numbers" in DOCUMENT
    assert f"H rows of {len(PLACE_INPUTS)} numbers" in DOCUMENT
    section = DOCUMENT[DOCUMENT.index("x(w) are, in this order") : DOCUMENT.index("y are the entropy")]
    assert f"none less than {LEAST:g}," in section
    assert re.findall(r"plus\s+(\S+?)[;,.]", section.replace("1e-9; of its", "1e-9, of its")) == [
        f"{floor:.0e}".replace("e-0", "e-") for floor in FLOORS.values()
    ]


def test_every_tensor_is_described(tiny_bundle: Path) -> None:
    letters = {
        "vocab_size": "V",
        "width": "D",
        "num_key_value_heads": "G",
        "head_size": "K",
        "cache_slots": "C",
    }
    entry = dataclasses.replace(
        open_bundle(tiny_bundle).manifest.model, num_layers=1, num_heads=16, head_size=48, width=768,
        num_key_value_heads=8, cache_slots=999,
    )  # fmt: skip
    letter_of = {getattr(entry, name): letter for name, letter in letters.items()}
    letter_of[entry.head_size + 1] = "K + 1"
    types = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32"}
    expected = {
        name.replace("_0", "_LAYER"): (types[kind], [str(letter_of.get(size, size)) for size in shape])
        for name, (kind, shape) in (
            expected_signature(entry) | expected_signature(dataclasses.replace(entry, attention="linear"))
        ).items()
    }
    told = {
        name: (row[1], row[2].strip("[]").split(", "))
        for row in rows_of_table("input") + rows_of_table("output")
        for name in re.findall(r"`([^`]+)`", row[0])
    }
    assert told == expected
    assert f"`{TOKENIZER_KEY}`" in DOCUMENT


def sentences(module: str) -> Iterator[str]:
    """A pattern for each sentence with which this module refuses; what varies matches anything."""
    for node in ast.walk(ast.parse((KEYBOARD / "fedkey" / module).read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        if node.func.id not in ("BundleError", "UserError"):
            continue
        sentence = node.args[0]
        if isinstance(sentence, ast.Constant):
            yield re.escape(str(sentence.value))
        elif isinstance(sentence, ast.JoinedStr):
            constants = {"MANIFEST": MANIFEST, "FORMAT": str(FORMAT)}
            yield "".join(
                re.escape(part.value)
                if isinstance(part, ast.Constant)
                else re.escape(constants.get(ast.unparse(part.value), "\0")).replace("\0", "[^|]+?")
                for part in sentence.values
                if isinstance(part, ast.Constant | ast.FormattedValue)
            )


def test_every_refusal_is_listed_with_what_to_do() -> None:
    listed = [row[0] for row in rows_of_table("the keyboard says")]
    tokenizers = [s for s in sentences("pieces.py") if not s.startswith("Cannot")]
    modules = ("bundle.py", "lexicon.py", "prior.py", "engine.py", "model.py")
    found = [s for module in modules for s in sentences(module)]
    unlisted = [s for s in (*found, *tokenizers) if not any(re.fullmatch(s, row) for row in listed)]
    assert len(found) > 25
    assert unlisted == []


def test_the_documents_reader_reads_what_the_keyboard_reads(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code blocks run as they are, but for the place of the bundle."""
    read, look_up = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(read.splitlines()) <= 16
    there: dict[str, Any] = {}
    exec(read.replace('"BUNDLE"', repr(str(tiny_bundle))), there)
    assert capsys.readouterr().out.count("\u2581") >= 1
    engine = Engine.open(tiny_bundle)
    model = LanguageModel(open_bundle(tiny_bundle))
    ids = [START_ID, *engine.pieces.encode("how are")]
    assert there["read"] == ids
    np.testing.assert_allclose(there["log_probs"], model.advance(model.new_cache(), ids), atol=1e-4)

    exec(look_up.replace('"BUNDLE/lexicon"', repr(str(tiny_bundle / "lexicon"))), there)
    lexicon = engine.lexicon
    words = [lexicon.word(index) for index in range(len(lexicon))]
    assert sorted(there["words"]) == sorted(word for word in words if word.lower().startswith("th"))
    assert there["words"][0] == "the"
