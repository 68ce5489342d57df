"""What the model remembers of the ids it has read, for each kind of attention.

In: what a run of the graph reads. Out: inputs and outputs bound to buffers. Next stop: `fedkey.model`.

Full and sliding attention remember keys and values, which the graph updates in place: going back is a change
of a length, since whatever lies behind it is overwritten. Sliding attention looks at the last `span` ids
only, so that older keys make room and the buffer has one length for every window; going back behind what is
left means reading again. Linear attention remembers sums, of which nothing can be taken off: going back means
to find an older state, and to read on from there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from fedkey.bundle import ModelEntry

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

HIDDEN_FROM = np.float32(-1e9)
"""Bias that takes a slot out of the softmax."""

STATE_EVERY = 64
"""Linear attention keeps the state after every so many ids: whoever goes back reads fewer than this again.
With those below that is 5 states at a window of 128, where 32 would need 7; 25 KB each in the tiny preset."""

NUM_RECENT = 2
"""States kept besides: of the newest ids, and of those before the last run."""


class Cache(ABC):
    """What was read: `ids`, and what the layers remember of them. Made by `LanguageModel.new_cache`.

    Attributes:
        ids: what was read.
        num_held: how many of them the layers remember; the others must be run before anything else is.
        binding: inputs and outputs of the graph.
    """

    def __init__(self, entry: ModelEntry, session: onnxruntime.InferenceSession) -> None:
        self.ids: list[int] = []
        self.num_held = 0
        self.binding = session.io_binding()
        self._entry = entry

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Bytes of its buffers, the most that they may come to."""

    @property
    @abstractmethod
    def max_run(self) -> int:
        """The most positions that one run may take."""

    @abstractmethod
    def reading(self, count: int) -> int:
        """How many of `count` ids the next run should read."""

    @abstractmethod
    def bind(self, positions: Integers, visible: Booleans | None, num_kept: int) -> None:
        """Binds what a run of T positions behind those held needs.

        Args:
            positions: [T].
            visible: [T, T], whether a position sees another one of the run; None for itself and all before.
            num_kept: how many of them are to be remembered, see `hold`.
        """

    def hold(self, count: int) -> None:
        """After a run: its first `count` positions are remembered."""
        self.num_held += count

    def rewind(self, length: int) -> None:
        """Forgets all but the first `length` ids."""
        del self.ids[length:]
        if length < self.num_held:
            self.num_held = self._still_held(length)

    def copy_from(self, other: Cache) -> None:
        """Becomes what another cache of the same model is; going on in one leaves the other as it is. 0.1 ms
        with a model of the phone's size and 100 ids."""
        self.ids, self.num_held = other.ids.copy(), other.num_held
        self._copy_held(other)

    @abstractmethod
    def _copy_held(self, other: Cache) -> None:
        """What the layers remember of the first `num_held` ids."""

    @abstractmethod
    def _still_held(self, length: int) -> int:
        """How many ids are remembered once those from `length` on are forgotten, at most `length`."""

    def _bind_inputs(self, **inputs: npt.NDArray[np.generic]) -> None:
        for name, array in inputs.items():
            self.binding.bind_cpu_input(name, np.ascontiguousarray(array))

    def _bind_buffer(self, name: str, buffer: Floats, *, is_input: bool) -> None:
        bind = self.binding.bind_input if is_input else self.binding.bind_output
        bind(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)


class KeyValueCache(Cache):
    """Keys and values in buffers that are past and present at once; of full and of sliding attention."""

    def __init__(self, entry: ModelEntry, session: onnxruntime.InferenceSession) -> None:
        super().__init__(entry, session)
        self._slides = entry.attention == "sliding"
        self._first = 0  # the id whose keys lie in the first slot
        self._buffers = []
        for layer in range(entry.num_layers):
            for kind, shape in entry.cache_shapes().items():
                # Zeros, not empty: slots that hold no number would turn a masked softmax into no number.
                buffer = np.zeros(shape, dtype=np.float32)
                self._buffers.append(buffer)
                self._bind_buffer(entry.past(kind, layer), buffer, is_input=True)
                self._bind_buffer(entry.present(kind, layer), buffer, is_input=False)

    @property
    def num_bytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._buffers)

    @property
    def max_run(self) -> int:
        # A run must not push out what its first position looks at.
        return self._entry.key_slots - (self._entry.span - 1 if self._slides else 0)

    def reading(self, count: int) -> int:
        return min(count, self.max_run)

    def bind(self, positions: Integers, visible: Booleans | None, num_kept: int) -> None:
        count = len(positions)
        self._make_room(count)
        before = self.num_held - self._first
        num_slots = before + count
        # The graph is causal by itself.
        bias = np.zeros((1, 1, count, num_slots), dtype=np.float32)
        if visible is not None:
            np.putmask(bias[0, 0, :, before:], ~visible, HIDDEN_FROM)
        if self._slides:
            slots = np.concatenate((np.arange(self._first, self.num_held), positions))
            bias[..., positions[:, None] - slots >= self._entry.span] = HIDDEN_FROM
        self._bind_inputs(
            attention_bias=bias,
            last_slot=np.array([num_slots - 1], dtype=np.int32),
            num_slots=np.array([num_slots], dtype=np.int32),
        )

    def _make_room(self, count: int) -> None:
        """Drops the oldest keys if `count` more would not fit; full attention has room for all."""
        before = self.num_held - self._first
        if before + count <= self._entry.key_slots:
            return
        shift = before - min(before, self._entry.span - 1)
        for buffer in self._buffers:
            buffer[:, :, : before - shift] = buffer[:, :, shift:before]
        self._first += shift

    def _copy_held(self, other: Cache) -> None:
        assert isinstance(other, KeyValueCache)
        self._first = other._first
        num_slots = self.num_held - self._first
        for mine, theirs in zip(self._buffers, other._buffers, strict=True):
            mine[:, :, :num_slots] = theirs[:, :, :num_slots]

    def _still_held(self, length: int) -> int:
        if self._first <= max(0, length - self._entry.span + 1):
            return length
        self._first = 0
        return 0


class _State(NamedTuple):
    length: int
    """How many ids it sums up."""
    arrays: list[Floats]
    """In the order of layers and kinds; never written to again."""


class StateCache(Cache):
    """The sums of linear attention after some of the ids."""

    def __init__(self, entry: ModelEntry, session: onnxruntime.InferenceSession) -> None:
        super().__init__(entry, session)
        shapes = entry.cache_shapes()
        self._places = [(kind, layer) for layer in range(entry.num_layers) for kind in shapes]
        self._states = [_State(0, [np.zeros(shapes[kind], dtype=np.float32) for kind, _ in self._places])]
        self._next: list[Floats] = []

    @property
    def num_bytes(self) -> int:
        num_states = 1 + self._entry.window // STATE_EVERY + NUM_RECENT
        return num_states * sum(array.nbytes for array in self._states[0].arrays)

    @property
    def max_run(self) -> int:
        return self._entry.cache_slots

    def reading(self, count: int) -> int:
        return min(count, STATE_EVERY - self.num_held % STATE_EVERY)

    def bind(self, positions: Integers, visible: Booleans | None, num_kept: int) -> None:
        count = len(positions)
        if visible is None:
            visible = np.tri(count, dtype=np.bool_)
        is_kept = np.arange(count)[None] < num_kept
        self._bind_inputs(visible=visible.astype(np.float32), kept=is_kept.astype(np.float32))
        past = self._states[-1].arrays
        self._next = [np.empty_like(array) for array in past]
        for (kind, layer), before, after in zip(self._places, past, self._next, strict=True):
            self._bind_buffer(self._entry.past(kind, layer), before, is_input=True)
            self._bind_buffer(self._entry.present(kind, layer), after, is_input=False)

    def hold(self, count: int) -> None:
        super().hold(count)
        states = [*self._states, _State(self.num_held, self._next)]
        recent = states[-NUM_RECENT:]
        self._states = [each for each in states[:-NUM_RECENT] if each.length % STATE_EVERY == 0] + recent

    def _copy_held(self, other: Cache) -> None:
        assert isinstance(other, StateCache)
        self._states = other._states.copy()

    def _still_held(self, length: int) -> int:
        self._states = [each for each in self._states if each.length <= length]
        return self._states[-1].length


def new_cache(entry: ModelEntry, session: onnxruntime.InferenceSession) -> Cache:
    """An empty cache of the kind that the model needs."""
    kind = StateCache if entry.attention == "linear" else KeyValueCache
    return kind(entry, session)
