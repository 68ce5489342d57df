"""The language model on the phone: ONNX Runtime around one graph and its caches.

In: a bundle, piece ids. Out: log probabilities of the next piece, and scores for a tree of candidates. Next
stop: `fedkey.decoder`.

A `Cache` holds what the layers remember of the ids read so far, see `fedkey.cache`. Reading on costs only
what is new, and going back mostly nothing. A tree of candidates runs behind the ids and leaves nothing that
counts.

What follows some ids does not depend on the portions in which they were read. For float32 this holds up to
rounding anyway; for int8 a rounding difference can tip an activation over to the next step, and suggestions
with it. The graph quantises each position for itself, and `_run` never runs a single position, for which
the runtime's matrix products take another path that adds up in another order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from fedkey.bundle import TOKENIZER, TOKENIZER_KEY, Bundle, BundleError, ModelEntry
from fedkey.cache import Booleans, Cache, new_cache
from fedkey.pieces import START_ID

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class LanguageModel:
    """One graph, ready to run. Caches are independent; no cache may be used by two threads at once.

    Attributes:
        window: how many ids a cache may hold.
        tree_room: how many nodes `score_tree` may run behind a full window.
        num_runs: how often the graph was run.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Loads the graph; `BundleError` if it is not what the manifest describes."""
        self.entry = bundle.manifest.model
        self.window = self.entry.window
        self.tree_room = self.entry.cache_slots - self.entry.window
        self.num_runs = 0
        self._session = _start(bundle)
        self._try()

    def _try(self) -> None:
        """A first run, its answer known in kind: a graph of the right signature may still be nonsense."""
        try:
            log_probs = self.advance(self.new_cache(), [START_ID])
        except Exception as error:  # the runtime's own exceptions share no base class
            raise BundleError("The bundle's model.onnx does not run; export the bundle again.") from error
        if not (np.isfinite(log_probs).all() and abs(float(np.exp(log_probs).sum()) - 1) < 1e-3):
            raise BundleError("The bundle's model.onnx gives no probabilities; export the bundle again.")

    def new_cache(self) -> Cache:
        """An empty cache."""
        return new_cache(self.entry, self._session)

    def rewind(self, cache: Cache, length: int) -> None:
        """Forgets all but the first `length` ids."""
        if not 0 <= length <= len(cache.ids):
            raise ValueError(f"a cache of {len(cache.ids)} ids cannot be rewound to {length}")
        cache.rewind(length)

    def read(self, cache: Cache, ids: Sequence[int]) -> None:
        """Reads `ids` after those in the cache; what follows is not asked, which is a third of the cost of a
        few."""
        self._read(cache, ids, _NONE)

    def advance(self, cache: Cache, ids: Sequence[int]) -> Floats:
        """Reads `ids` after those in the cache; returns the log probabilities [V] of what follows the
        last."""
        log_probs: Floats = self._read(cache, ids, np.array([len(ids) - 1]))[0]
        return log_probs

    def advance_each(self, cache: Cache, ids: Sequence[int]) -> Floats:
        """As `advance`, but returns what follows each of the N ids: [N, V]."""
        return self._read(cache, ids, np.arange(len(ids)))

    def _read(self, cache: Cache, ids: Sequence[int], rows: Integers) -> Floats:
        before, after = len(cache.ids), len(cache.ids) + len(ids)
        if not ids or after > self.window:
            raise ValueError(
                f"a cache of {before} ids with a window of {self.window} cannot take {len(ids)} more"
            )
        cache.ids.extend(self._checked(np.array(ids, dtype=np.int64)).tolist())
        return self._catch_up(cache, rows + before)

    def _catch_up(self, cache: Cache, asked: Integers) -> Floats:
        """Runs the ids that the cache does not hold yet; the log probabilities [R, V] of what follows those
        at the ascending places `asked` [R], all of them among these."""
        answers = []
        while (begin := cache.num_held) < len(cache.ids):
            end = begin + cache.reading(len(cache.ids) - begin)
            rows = asked[(begin <= asked) & (asked < end)] - begin
            tokens, positions = np.array(cache.ids[begin:end], dtype=np.int64), np.arange(begin, end)
            log_probs, _ = self._run(cache, tokens, positions, None, len(tokens), rows, _NONE, _NONE)
            cache.hold(len(tokens))
            answers.append(log_probs)
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def score_tree(
        self, cache: Cache, pieces: Integers, parents: Integers, query_nodes: Integers, query_pieces: Integers
    ) -> Floats:
        """How well pieces follow the nodes of a tree that hangs behind the cache; the cache stays as it is.

        Args:
            pieces: [N] ids of the nodes.
            parents: [N] each node's parent, -1 for the end of the cache; a parent stands before its children.
            query_nodes, query_pieces: [M] pairs: how well does this piece follow this node?

        Returns:
            [M] scores: logits less what the model's log Z usually is, and so close to log probabilities.
        """
        if len(query_nodes) == 0:
            return np.zeros(0, dtype=np.float32)
        start, count = len(cache.ids), len(pieces)
        if start + max(count, 2) > self.entry.cache_slots or count > cache.max_run:
            raise ValueError(f"a tree of {count} nodes does not fit behind {start} ids")
        visible = np.zeros((count, count), dtype=np.bool_)
        positions = np.empty(count, dtype=np.int64)
        for node, parent in enumerate(parents.tolist()):
            if not -1 <= parent < node:
                raise ValueError(f"node {node} has parent {parent}, which does not stand before it")
            if parent >= 0:
                visible[node] = visible[parent]
            visible[node, node] = True
            positions[node] = start if parent < 0 else positions[parent] + 1
        if query_nodes.min() < 0 or query_nodes.max() >= count:
            raise ValueError("a query asks a node that the tree lacks")
        pieces, query_pieces = self._checked(pieces), self._checked(query_pieces)
        if cache.num_held < start:
            self._catch_up(cache, _NONE)
        _, scores = self._run(cache, pieces, positions, visible, 0, _NONE, query_nodes, query_pieces)
        return scores

    def _checked(self, ids: Integers) -> Integers:
        # An id out of range would read past the end of the embedding in some builds of the runtime.
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self.entry.vocab_size:
            raise ValueError(f"piece ids must lie in 0..{self.entry.vocab_size - 1}")
        return ids

    def _run(
        self,
        cache: Cache,
        tokens: Integers,
        positions: Integers,
        visible: Booleans | None,
        num_kept: int,
        rows: Integers,
        score_rows: Integers,
        score_pieces: Integers,
    ) -> tuple[Floats, Floats]:
        """One run of the graph; returns log_probs [R, V] and scores [M]. The first `num_kept` positions are
        to be remembered; `visible` as in `Cache.bind`."""
        if len(tokens) == 1:
            # A second position behind the only one changes nothing for it; see above.
            tokens, positions = np.repeat(tokens, 2), np.array([positions[0], positions[0] + 1])
            visible = None
        binding = cache.binding
        cache.bind(positions, visible, num_kept)
        for name, array in (
            ("tokens", tokens[None]),
            ("positions", positions[None]),
            ("rows", rows),
            ("score_rows", score_rows),
            ("score_pieces", score_pieces),
        ):
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        log_probs = np.empty((len(rows), self.entry.vocab_size), dtype=np.float32)
        scores = np.empty(len(score_rows), dtype=np.float32)
        for name, out in (("log_probs", log_probs), ("scores", scores)):
            binding.bind_output(name, "cpu", 0, np.float32, out.shape, out.ctypes.data)
        self.num_runs += 1
        self._session.run_with_iobinding(binding)
        return log_probs, scores


_NONE = np.zeros(0, dtype=np.int64)


def _start(bundle: Bundle) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # A second thread gains 20 % on an idle machine and loses several times that on a busy one.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # its messages are for programmers; ours follow below
    try:
        session = onnxruntime.InferenceSession(
            bundle.model_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime's own exceptions share no base class
        raise BundleError(
            "The bundle's model.onnx is no graph that ONNX Runtime can load; export it again."
        ) from error
    # It would keep the file's bytes in case it had to begin anew on another device: 11 MB of the phone's 40.
    session._model_bytes = None
    metadata = session.get_modelmeta().custom_metadata_map
    if metadata.get(TOKENIZER_KEY) != bundle.manifest.files[TOKENIZER].sha256:
        raise BundleError(
            "The bundle's tokenizer is not the one its model was trained with; export it again."
        )
    entry = bundle.manifest.model
    found = {each.name: (each.type, each.shape) for each in (*session.get_inputs(), *session.get_outputs())}
    for name, signature in expected_signature(entry).items():
        if found.pop(name, None) != signature:
            raise BundleError(
                f"The bundle's model.onnx does not offer {name!r} as its manifest says; export it again."
            )
    return session


def expected_signature(entry: ModelEntry) -> dict[str, tuple[str, list[int | str]]]:
    """Type and shape of every input and output of the graph, by name."""
    signature: dict[str, tuple[str, list[int | str]]] = {
        "tokens": ("tensor(int64)", [1, "T"]),
        "positions": ("tensor(int64)", [1, "T"]),
        **_ATTENTION_INPUTS["linear" if entry.attention == "linear" else "full"],
        "rows": ("tensor(int64)", ["R"]),
        "score_rows": ("tensor(int64)", ["M"]),
        "score_pieces": ("tensor(int64)", ["M"]),
        "hidden": ("tensor(float)", ["T", entry.width]),
        "log_probs": ("tensor(float)", ["R", entry.vocab_size]),
        "scores": ("tensor(float)", ["M"]),
    }
    for layer in range(entry.num_layers):
        for kind, shape in entry.cache_shapes().items():
            buffer: tuple[str, list[int | str]] = ("tensor(float)", [*shape])
            signature[entry.past(kind, layer)] = signature[entry.present(kind, layer)] = buffer
    return signature


_ATTENTION_INPUTS: Mapping[str, Mapping[str, tuple[str, list[int | str]]]] = {
    "full": {
        "attention_bias": ("tensor(float)", [1, 1, "T", "S"]),
        "last_slot": ("tensor(int32)", [1]),
        "num_slots": ("tensor(int32)", [1]),
    },
    "linear": {"visible": ("tensor(float)", ["T", "T"]), "kept": ("tensor(float)", [1, "T"])},
}
