"""What a bundle is, and how it is opened without trusting it.

In: a folder that someone exported, copied or tampered with. Out: a `Bundle` whose every file was checked
against `manifest.json`, or a `BundleError` that says in one sentence what is wrong. Next stop:
`fedkey.lexicon`, `fedkey.model`.

Everything is checked before anything is parsed: sizes before reading, checksums before loading, array
headers before mapping. `BUNDLE.md` describes the folder field by field. `fedkey_export.package` fills in
the dataclasses below, which makes this module the one definition of the format.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import math
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fedkey.errors import UserError
from fedkey.pieces import END_ID, PAD_ID, START_ID, UNKNOWN_ID
from fedkey.text import TEXT_RULES_VERSION

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMAT = 2
"""Raised when an older keyboard could misread a newer bundle; anything gentler is a feature. Format 2 says
how the model attends. A bundle is written in the lowest format that can say what it is, see `format_of`."""

SHARED_CACHE = "shared-cache"
INFILL = "opt_infill"
"""The model was trained to read what stands behind the caret, framed as `fedkey.context` does. A keyboard
that does not know it gives the model the text before alone, which it reads as well as ever."""

FEATURES = frozenset({"llama", SHARED_CACHE, "lexicon-trie", INFILL})
"""What this keyboard can do. A bundle lists what it needs; what begins with `OPTIONAL` may be ignored."""

OPTIONAL = "opt_"

MANIFEST, MODEL, TOKENIZER = "manifest.json", "model.onnx", "tokenizer.model"

CORRECTION = "correction.json"
"""How sure a correction must be, fitted to the model; a bundle without it is corrected by the defaults."""

MIXTURE = "mixture.json"
"""How much each opinion of a word counts, fitted to model and n-grams; without it shares are fixed."""

DICTIONARY = "dictionary.npy"
"""Right words that the lexicon lacks, see `fedkey.dictionary`; without it they may be corrected."""

LEXICON_ARRAYS: Mapping[str, tuple[str, ...]] = {
    "text": ("|u1",),
    "text_offsets": ("<u4",),
    "log_prob": ("<f4",),
    "flags": ("|u1",),
    "pieces": ("<u2", "<u4"),
    "piece_offsets": ("<u4",),
    "trie_char": ("<u2", "<u4"),
    "trie_first_child": ("<u4",),
    "trie_word_start": ("<u2", "<u4"),
    "trie_word_end": ("<u2", "<u4"),
}
"""Name of each one-dimensional array -> the dtypes it may have. Stored as `lexicon/NAME.npy`."""

NGRAM_ARRAYS: Mapping[str, tuple[str, ...]] = {
    "pair_counts": ("<u2", "<u4"),
    "pair_words": ("<u2", "<u4"),
    "pair_values": ("|u1",),
    "triple_pairs": ("<u4",),
    "triple_counts": ("<u2", "<u4"),
    "triple_words": ("<u2", "<u4"),
    "triple_values": ("|u1",),
}
"""The same of `ngrams/NAME.npy`: which words follow which. A bundle has all of them or none."""

TOKENIZER_KEY = "fedkey.tokenizer_sha256"
"""Metadata of the graph: which tokenizer its ids belong to."""

MAX_MANIFEST_BYTES = 1_000_000
MAX_BUNDLE_BYTES = 500_000_000
"""Far above any bundle a phone could use, far below what would harm the machine that opens one."""

MAX_NUMBER = 1e300
"""Above any number of a manifest; JSON's integers have no end, floats have."""

_NPY_START = b"\x93NUMPY\x01\x00"
_MAX_NPY_HEADER = 1000
_FILE_NAME = re.compile(r"(?:[a-z0-9_]+/)?[a-z0-9_]+\.[a-z]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


MIN_TREE_SLOTS = 2
"""A cache has room for two positions behind a full window; the graph never runs fewer."""

MIN_WINDOW = 16
"""The word being typed needs a dozen pieces of the window, and something must stand before it."""

_LARGEST = {
    "vocab_size": 1 << 20,
    "width": 1 << 14,
    "num_layers": 1 << 8,
    "num_heads": 1 << 8,
    "num_key_value_heads": 1 << 8,
    "head_size": 1 << 10,
    "hidden_width": 1 << 16,
    "window": 1 << 13,
    "cache_slots": 1 << 14,
    "span": 1 << 13,
}
ATTENTIONS = ("full", "sliding", "linear")
_MAX_CACHE_NUMBERS = 1 << 26


class BundleError(UserError):
    """A bundle that must not be opened; the message says why and what to do."""


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle."""

    bytes: int
    """Its exact size."""
    sha256: str
    """Lower-case hexadecimal."""

    def __post_init__(self) -> None:
        if self.bytes < 0 or not _SHA256.fullmatch(self.sha256):
            raise ValueError("a file entry needs a size and a sha256")


@dataclass(frozen=True)
class ModelEntry:
    """The graph: its shape, and the layout of the cache that the keyboard provides."""

    precision: str
    """"int8" or "float32": how the weights are stored. Inputs, outputs and cache are float32 either way."""
    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int
    head_size: int
    hidden_width: int
    window: int
    """Pieces of context the model was trained on."""
    cache_slots: int
    """The window, and room behind it for a tree of candidates; the length of the cache's time axis, see
    `key_slots`."""
    rope_base: float
    norm_epsilon: float
    attention: str = "full"
    """How a position looks at those before it: "full", "sliding" or "linear"."""
    span: int = 32
    """How many positions sliding attention looks at, its own included."""

    def __post_init__(self) -> None:
        if self.precision not in ("int8", "float32"):
            raise ValueError(f"its precision {self.precision!r} is unknown")
        # Bounds that no sensible model meets: a manifest must not make the keyboard allocate without limit.
        for name, limit in _LARGEST.items():
            if not 0 < getattr(self, name) <= limit:
                raise ValueError(f"{name} must lie between 1 and {limit}")
        if self.attention not in ATTENTIONS:
            raise ValueError(f"its attention {self.attention!r} is unknown")
        if self.attention == "sliding" and self.span > self.window:
            raise ValueError("span must not exceed window")
        if self.window < MIN_WINDOW:
            raise ValueError(f"window must be at least {MIN_WINDOW}")
        if self.cache_slots < self.window + MIN_TREE_SLOTS:
            raise ValueError(f"cache_slots must exceed window by {MIN_TREE_SLOTS} at least")
        if self.num_heads % self.num_key_value_heads or self.num_heads * self.head_size != self.width:
            raise ValueError("its numbers of heads do not fit")
        if self.head_size % 16:
            raise ValueError(
                f"ONNX Runtime attends with head sizes that are multiples of 16, not {self.head_size}"
            )
        if self.num_layers * max(map(math.prod, self.cache_shapes().values())) > _MAX_CACHE_NUMBERS:
            raise ValueError("its cache is too large")

    @property
    def num_weights(self) -> int:
        """Numbers that training set; words share one table on the way in and out."""
        queries_and_output = 2 * self.width * self.width
        keys_and_values = 2 * self.width * self.num_key_value_heads * self.head_size
        layer = queries_and_output + keys_and_values + 3 * self.width * self.hidden_width + 2 * self.width
        return self.vocab_size * self.width + self.num_layers * layer + self.width

    @property
    def key_slots(self) -> int:
        """Length of the cache's time axis. Sliding attention has room for twice its span: what a position
        looks at, and as much to read on, or to go back, before older keys make room."""
        if self.attention != "sliding":
            return self.cache_slots
        return min(self.cache_slots, 2 * self.span + self.cache_slots - self.window)

    def cache_shapes(self) -> dict[str, tuple[int, ...]]:
        """Kind of buffer -> its shape; every layer has one float32 buffer of each kind."""
        num_groups, head_size = self.num_key_value_heads, self.head_size
        if self.attention == "linear":
            return {"state": (num_groups, 1, head_size, head_size + 1)}
        return dict.fromkeys(("key", "value"), (1, num_groups, self.key_slots, head_size))

    def past(self, kind: str, layer: int) -> str:
        """Name of a cache input; `kind` is one of `cache_shapes`."""
        return f"past_{kind}_{layer}"

    def present(self, kind: str, layer: int) -> str:
        """Name of the output that shares its buffer with `past`."""
        return f"present_{kind}_{layer}"


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`. Holds no clock time: exporting one checkpoint twice gives the same bytes."""

    format: int
    """See `FORMAT`."""
    features: tuple[str, ...]
    """What a keyboard must be able to do; see `FEATURES`."""
    languages: tuple[str, ...]
    """ISO 639-1 codes."""
    layout: str
    """The keyboard layout the words are typed on."""
    text_rules: int
    """`fedkey.text.TEXT_RULES_VERSION` of the text the model was trained on."""
    special_ids: Mapping[str, int]
    """Ids of "pad", "start", "end", "unknown"."""
    files: Mapping[str, FileEntry]
    """Path with forward slashes -> what must be found there."""
    model: ModelEntry
    num_words: int
    """Words in the lexicon."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Figures measured at export, against the checkpoint."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where the model comes from: kind of run, steps or rounds, resolved configuration, sources with
    licences."""

    def __post_init__(self) -> None:
        if self.format < format_of(self.model):
            raise ValueError(f"format {self.format} knows no attention {self.model.attention!r}")

    def to_json(self) -> str:
        """The file's text; the same for the same content."""
        content = dataclasses.asdict(self)
        if self.format == 1:
            for name in _SINCE_FORMAT_2:
                del content["model"][name]
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


_SINCE_FORMAT_2 = ("attention", "span")
"""Fields of `ModelEntry`."""


def format_of(model: ModelEntry) -> int:
    """The lowest format that can describe the model, so that older keyboards open all they can run."""
    return 1 if model.attention == "full" else 2


SPECIAL_IDS: Mapping[str, int] = {"pad": PAD_ID, "start": START_ID, "end": END_ID, "unknown": UNKNOWN_ID}


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. Holds no file open and nothing large."""

    path: Path
    manifest: Manifest

    def model_bytes(self) -> bytes:
        """The serialised ONNX graph, checked once more as it is read."""
        return self._read(MODEL)

    def tokenizer_bytes(self) -> bytes:
        """The SentencePiece model, checked once more as it is read."""
        return self._read(TOKENIZER)

    def lexicon_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays of `LEXICON_ARRAYS` by name, memory-mapped and read-only."""
        import numpy as np

        return {
            name: np.load(self.path / lexicon_file(name), mmap_mode="r", allow_pickle=False)
            for name in LEXICON_ARRAYS
        }

    def ngram_arrays(self) -> dict[str, npt.NDArray[np.generic]] | None:
        """The arrays of `NGRAM_ARRAYS` by name, memory-mapped and read-only; None for a bundle without."""
        import numpy as np

        if not has_ngrams(self.manifest):
            return None
        return {
            name: np.load(self.path / ngram_file(name), mmap_mode="r", allow_pickle=False)
            for name in NGRAM_ARRAYS
        }

    def dictionary_array(self) -> npt.NDArray[np.generic] | None:
        """The bits of `DICTIONARY`, uint8 [B], memory-mapped and read-only; None for a bundle without."""
        import numpy as np

        if DICTIONARY not in self.manifest.files:
            return None
        bits: npt.NDArray[np.generic] = np.load(self.path / DICTIONARY, mmap_mode="r", allow_pickle=False)
        return bits

    def correction_text(self) -> str | None:
        """The text of `CORRECTION`, see `fedkey.corrections`; None for a bundle that was never calibrated."""
        return self._text(CORRECTION)

    def mixture_text(self) -> str | None:
        """The text of `MIXTURE`, see `fedkey.mixture`; None for a bundle whose words are not weighed."""
        return self._text(MIXTURE)

    def _text(self, name: str) -> str | None:
        if name not in self.manifest.files:
            return None
        return self._read(name).decode("utf-8", errors="replace")

    def _read(self, name: str) -> bytes:
        content = _read_limited(self.path, name, self.manifest.files[name].bytes)
        if hashlib.sha256(content).hexdigest() != self.manifest.files[name].sha256:
            raise BundleError(
                f"The bundle's {name} was altered while it was in use; export or download it again."
            )
        return content


def lexicon_file(name: str) -> str:
    """Path of a lexicon array inside the bundle."""
    return f"lexicon/{name}.npy"


def ngram_file(name: str) -> str:
    """Path of an array of n-grams inside the bundle."""
    return f"ngrams/{name}.npy"


def has_ngrams(manifest: Manifest) -> bool:
    """Whether the manifest lists any array of n-grams."""
    return any(ngram_file(name) in manifest.files for name in NGRAM_ARRAYS)


def required_files() -> list[str]:
    """The files without which a bundle is none, manifest aside."""
    return [MODEL, TOKENIZER, *map(lexicon_file, LEXICON_ARRAYS)]


def open_bundle(path: str | Path) -> Bundle:
    """Checks a bundle folder from the outside in; `BundleError` at the first thing that is wrong."""
    path = Path(path)
    if not path.is_dir():
        raise BundleError(f"There is no bundle at {path}: a bundle is a folder that holds {MANIFEST}.")
    manifest = read_manifest(path)
    _check_understood(manifest)
    if sum(entry.bytes for entry in manifest.files.values()) > MAX_BUNDLE_BYTES:
        raise BundleError(
            f"The bundle says it is larger than {MAX_BUNDLE_BYTES:,} bytes; it cannot be one for a phone."
        )
    for name, entry in manifest.files.items():
        _check_file(path, name, entry)
    lengths = {
        name: _array_length(path, lexicon_file(name), dtypes) for name, dtypes in LEXICON_ARRAYS.items()
    }
    if lengths["log_prob"] != manifest.num_words:
        raise BundleError(
            "The bundle's lexicon does not hold the number of words its manifest says; export it again."
        )
    if has_ngrams(manifest):
        for name, dtypes in NGRAM_ARRAYS.items():
            _array_length(path, ngram_file(name), dtypes)
    if DICTIONARY in manifest.files:
        _array_length(path, DICTIONARY, ("|u1",))
    return Bundle(path, manifest)


def read_manifest(path: Path) -> Manifest:
    """Parses `manifest.json` alone. A newer format is named before anything else in it is looked at."""
    if not (path / MANIFEST).is_file():
        raise BundleError(f"The folder {path} is not a bundle: it holds no {MANIFEST}.")
    try:
        data = json.loads(_read_limited(path, MANIFEST, MAX_MANIFEST_BYTES, exact=False).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"The bundle's {MANIFEST} is not readable JSON; export or download the bundle again."
        ) from error
    number = data.get("format") if isinstance(data, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= FORMAT:
        if isinstance(number, int) and number > FORMAT:
            raise BundleError(
                f"The bundle has format {number}, this keyboard reads {FORMAT}: update the keyboard."
            )
        raise BundleError(
            f"The bundle has format {number!r}, this keyboard reads {FORMAT}: export the model again."
        )
    try:
        manifest: Manifest = _from_json(Manifest, data)
    except ValueError as error:
        raise BundleError(
            f"The bundle's {MANIFEST} is malformed ({error}); export or download it again."
        ) from error
    return manifest


def _check_understood(manifest: Manifest) -> None:
    unknown = [name for name in manifest.features if name not in FEATURES and not name.startswith(OPTIONAL)]
    if unknown:
        raise BundleError(
            f"The bundle needs {', '.join(unknown)}, which this keyboard lacks: update the keyboard."
        )
    if manifest.text_rules != TEXT_RULES_VERSION:
        raise BundleError(
            f"The bundle was trained with text rules {manifest.text_rules}, this keyboard writes by "
            f"{TEXT_RULES_VERSION}: update the older of the two."
        )
    if dict(manifest.special_ids) != dict(SPECIAL_IDS):
        raise BundleError(
            "The bundle's special ids are not the ones this keyboard uses; export the model again."
        )
    needed = required_files()
    if has_ngrams(manifest):
        needed += map(ngram_file, NGRAM_ARRAYS)
    missing = [name for name in needed if name not in manifest.files]
    if missing:
        raise BundleError(
            f"The bundle's {MANIFEST} does not list {missing[0]}; export or download the bundle again."
        )
    for name in manifest.files:
        if not _FILE_NAME.fullmatch(name):
            raise BundleError(
                f"The bundle names a file {name!r}, which may lie outside it; do not use this bundle."
            )


def _check_file(path: Path, name: str, entry: FileEntry) -> None:
    # Read in small parts: after a large one was given back, the C library takes large ones from its heap and
    # keeps them, 5 to 8 MB of a phone-sized model.
    with _opened(path, name, entry.bytes) as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != entry.sha256:
        raise BundleError(
            f"The bundle's {name} is not the file that was exported; export or download the bundle again."
        )


def _read_limited(path: Path, name: str, limit: int, *, exact: bool = True) -> bytes:
    """A regular file of exactly (or at most) `limit` bytes; nothing is read of one that is larger."""
    with _opened(path, name, limit, exact=exact) as opened:
        return opened.read(limit)


@contextmanager
def _opened(path: Path, name: str, limit: int, *, exact: bool = True) -> Iterator[BufferedReader]:
    file = path / name
    try:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode) or (file.parent != path and file.parent.is_symlink()):
            raise BundleError(
                f"The bundle's {name} is a link or no regular file; copy the bundle with its files."
            )
        if status.st_size > limit or (exact and status.st_size != limit):
            right = f"{limit:,}" if exact else f"at most {limit:,}"
            raise BundleError(
                f"The bundle's {name} has {status.st_size:,} bytes instead of {right}; "
                "export or download the bundle again."
            )
        with file.open("rb") as opened:
            yield opened
    except FileNotFoundError as error:
        raise BundleError(f"The bundle lacks {name}; export or download it again.") from error
    except OSError as error:
        raise BundleError(f"The bundle's {name} cannot be read: {error.strerror}.") from error


def _array_length(path: Path, name: str, dtypes: Iterable[str]) -> int:
    """The length of an array, after checking that its header promises what the file holds."""
    file = path / name
    try:
        with file.open("rb") as opened:
            descr, fortran, shape = _array_header(opened)
            payload = file.stat().st_size - opened.tell()
    except (ValueError, OSError) as error:
        raise BundleError(f"The bundle's {name} is no array file; export it again.") from error
    if (
        fortran is not False
        or descr not in dtypes
        or not (isinstance(shape, tuple) and len(shape) == 1 and type(shape[0]) is int)
        or shape[0] < 1
        or shape[0] * int(descr[-1]) != payload
    ):
        raise BundleError(f"The bundle's {name} is not the kind of array it should be; export it again.")
    return shape[0]


def _array_header(file: BufferedReader) -> tuple[Any, Any, Any]:
    """What the header of an .npy file of version 1.0 says: dtype, Fortran order and shape, of any type.

    numpy reads them, too, but takes a fifth of the time until the keyboard is on screen to be imported.

    Raises:
        ValueError: it is no such header.
    """
    start = file.read(len(_NPY_START) + 2)
    size = int.from_bytes(start[-2:], "little")
    if start[: len(_NPY_START)] != _NPY_START or size > _MAX_NPY_HEADER:
        raise ValueError("no header of version 1.0")
    text = file.read(size)
    if len(text) != size:
        raise ValueError("half a header")
    try:
        header = ast.literal_eval(text.decode("latin-1"))
    except (SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError("no dictionary") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError("not its three entries")
    return header["descr"], header["fortran_order"], header["shape"]


# ---------------------------------------------------------------------------------- JSON to dataclasses

T = TypeVar("T")


def _from_json(kind: type[T], data: object) -> T:
    """Builds a flat dataclass from parsed JSON; `ValueError` names the field that is missing, unknown or of
    another type."""
    if not isinstance(data, dict):
        raise ValueError(f"{kind.__name__} is not an object")
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    hints = {each.name: str(each.type) for each in fields}
    for name in data:
        if name not in hints:
            raise ValueError(f"unknown field {name!r}")
    for each in fields:
        # What has a default came with a later format.
        if each.name not in data and each.default is dataclasses.MISSING:
            raise ValueError(f"no field {each.name!r}")
    return kind(**{name: _value(hints[name], name, value) for name, value in data.items()})


def _value(hint: str, name: str, value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_NUMBER
    if hint == "int" and is_number and isinstance(value, int):
        return value
    if hint == "float" and is_number:
        return float(value)
    if hint == "str" and isinstance(value, str):
        return value
    if hint == "tuple[str, ...]" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if hint == "ModelEntry":
        return _from_json(ModelEntry, value)
    if isinstance(value, dict):
        if hint == "Mapping[str, FileEntry]":
            return {key: _from_json(FileEntry, item) for key, item in value.items()}
        if hint == "Mapping[str, int]" and all(type(item) is int for item in value.values()):
            return value
        if hint == "Mapping[str, Any]":
            return value
    raise ValueError(f"field {name!r} is not {hint}")
