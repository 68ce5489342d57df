"""The transformer: what it sees, what it is called, and what its loss adds up to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedkey_server.batches import Documents, pack
from fedkey_server.model import IGNORE, Losses, Model, ModelConfig

SMALL = ModelConfig(
    vocab_size=60, width=32, num_layers=2, num_heads=4, num_key_value_heads=2, hidden_width=48, window=32
)


OPTIONS = {
    "full": SMALL,
    "sliding": replace(SMALL, attention="sliding", span=5),
    "linear": replace(SMALL, attention="linear"),
}


def lively(config: ModelConfig = SMALL, seed: int = 0) -> Model:
    """A double-precision model with attention far from uniform, so that what leaks would show."""
    model = Model(config, seed=seed).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embed" not in name:
                parameter.mul_(8.0)
    return model


def documents(rng: np.random.Generator, lengths: list[int], vocab_size: int = SMALL.vocab_size) -> Documents:
    total = sum(lengths)
    return Documents(
        rng.integers(4, vocab_size, total).astype(np.int32),
        rng.random(total) < 0.7,
        np.cumsum([0, *lengths]).astype(np.int64),
    )


def tensors(texts: Documents, row_length: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = pack(texts, row_length, SMALL.window, seed=seed)
    tokens, targets, positions, document_ids = (
        torch.from_numpy(array.astype(np.int64))
        for array in (rows.tokens, rows.targets, rows.positions, rows.document_ids)
    )
    return tokens, targets, positions, document_ids


def alone(model: Model, ids: np.ndarray) -> Tensor:
    """Hidden states of one document in a row of its own."""
    tokens = torch.from_numpy(ids.astype(np.int64))[None]
    return model(tokens, torch.arange(len(ids))[None], torch.zeros_like(tokens))[0]


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(2, 32), min_size=1, max_size=12),
    option=st.sampled_from(sorted(OPTIONS)),
)
@settings(max_examples=25)
def test_hidden_states_do_not_depend_on_what_a_document_is_packed_with(
    seed: int, lengths: list[int], option: str
) -> None:
    model = lively(OPTIONS[option])
    texts = documents(np.random.default_rng(seed), lengths)
    tokens, _, positions, document_ids = tensors(texts, 64, seed % 1000)
    with torch.no_grad():
        hidden = model(tokens, positions, document_ids)
        assert hidden.isfinite().all()
        found = 0
        for row in range(len(tokens)):
            for document in document_ids[row].unique():
                where = document_ids[row] == document
                if document >= 0:
                    expected = alone(model, tokens[row][where].numpy())
                    torch.testing.assert_close(hidden[row][where], expected, rtol=1e-9, atol=1e-9)
                    found += 1
    assert found == len(lengths)


@pytest.mark.parametrize("option", OPTIONS)
def test_no_document_sees_another_through_the_whole_model(option: str) -> None:
    model = lively(OPTIONS[option])
    texts = documents(np.random.default_rng(1), [12, 9, 7, 20, 5, 11])
    tokens, _, positions, document_ids = tensors(texts, 64)
    embedded = model.model.embed_tokens(tokens).detach().requires_grad_()
    model.model.embed_tokens.register_forward_hook(lambda *_: embedded)
    hidden = model(tokens, positions, document_ids)
    for row in range(len(tokens)):
        for document in document_ids[row].unique():
            inside = document_ids[row] == document
            (gradient,) = torch.autograd.grad(hidden[row][inside].sum(), embedded, retain_graph=True)
            reached = gradient.abs().sum(dim=-1) > 0
            assert not reached[row][~inside].any()
            assert not reached[torch.arange(len(tokens)) != row].any()
            assert reached[row][inside].any()


@pytest.mark.parametrize("option", OPTIONS)
def test_no_position_sees_what_comes_after_it(option: str) -> None:
    model = lively(OPTIONS[option])
    ids = np.random.default_rng(2).integers(4, SMALL.vocab_size, 20)
    changed = ids.copy()
    changed[13:] = (changed[13:] - 4 + 1) % (SMALL.vocab_size - 4) + 4
    before, after = alone(model, ids), alone(model, changed)
    assert torch.equal(before[:13], after[:13])
    assert (before[13:] != after[13:]).any(dim=-1).all()


@pytest.mark.parametrize("option", OPTIONS)
def test_the_order_of_earlier_pieces_matters(option: str) -> None:
    model = lively(replace(OPTIONS[option], num_layers=1))
    ids = np.array([5, 6, 7, 8])
    swapped = np.array([6, 5, 7, 8])
    assert not torch.allclose(alone(model, ids)[-1], alone(model, swapped)[-1])


def test_a_layer_of_sliding_attention_sees_the_span_and_two_layers_twice_as_far() -> None:
    ids = np.random.default_rng(8).integers(4, SMALL.vocab_size, 30)
    for num_layers in (1, 2):
        model = lively(replace(OPTIONS["sliding"], num_layers=num_layers))
        reach = num_layers * (5 - 1)
        seen, unseen = ids.copy(), ids.copy()
        seen[29 - reach] = 4 + (ids[29 - reach] - 4 + 1) % 50
        unseen[29 - reach - 1] = 4 + (ids[29 - reach - 1] - 4 + 1) % 50
        expected = alone(model, ids)[29]
        torch.testing.assert_close(alone(model, unseen)[29], expected, rtol=1e-9, atol=1e-12)
        assert not torch.allclose(alone(model, seen)[29], expected, rtol=1e-9, atol=1e-12)


def test_a_span_that_holds_the_window_is_full_attention() -> None:
    ids = np.random.default_rng(9).integers(4, SMALL.vocab_size, SMALL.window)
    sliding = lively(replace(SMALL, attention="sliding", span=SMALL.window))
    torch.testing.assert_close(alone(sliding, ids), alone(lively(), ids))


def test_heads_of_linear_attention_reach_from_one_piece_to_a_message() -> None:
    assert OPTIONS["full"].horizons == OPTIONS["sliding"].horizons == ()
    assert OPTIONS["linear"].horizons == (1.0, 64.0)
    four = replace(OPTIONS["linear"], num_key_value_heads=4).horizons
    assert four == pytest.approx((1.0, 4.0, 16.0, 64.0))
    assert replace(OPTIONS["linear"], num_key_value_heads=1).horizons == (1.0,)


def test_equal_seeds_give_equal_models_and_others_do_not() -> None:
    first, second, third = Model(SMALL, seed=3), Model(SMALL, seed=3), Model(SMALL, seed=4)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
        if tensor.dim() == 2:
            assert not torch.equal(tensor, third.state_dict()[name])


def test_parameters_carry_llama_names_in_safetensors(tmp_path: Path) -> None:
    save_file(Model(SMALL).state_dict(), tmp_path / "model.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    expected = {"model.embed_tokens.weight": (60, 32), "model.norm.weight": (32,)}
    for layer in ("model.layers.0", "model.layers.1"):
        expected |= {
            f"{layer}.input_layernorm.weight": (32,),
            f"{layer}.post_attention_layernorm.weight": (32,),
            f"{layer}.self_attn.q_proj.weight": (32, 32),
            f"{layer}.self_attn.k_proj.weight": (16, 32),
            f"{layer}.self_attn.v_proj.weight": (16, 32),
            f"{layer}.self_attn.o_proj.weight": (32, 32),
            f"{layer}.mlp.gate_proj.weight": (48, 32),
            f"{layer}.mlp.up_proj.weight": (48, 32),
            f"{layer}.mlp.down_proj.weight": (32, 48),
        }
    assert shapes == expected


@pytest.mark.parametrize("num_key_value_heads", [1, 2, 4])
def test_fewer_key_value_heads_change_the_shapes_and_nothing_else(num_key_value_heads: int) -> None:
    config = ModelConfig(
        vocab_size=60, width=32, num_layers=1, num_heads=4, num_key_value_heads=num_key_value_heads,
        hidden_width=48, window=32,
    )  # fmt: skip
    model = lively(config)
    assert model.model.layers[0].self_attn.k_proj.weight.shape == (8 * num_key_value_heads, 32)
    assert alone(model, np.arange(4, 20)).shape == (16, 32)


def loss_of(model: Model, texts: Documents, z_penalty: float = 0.0, row_length: int = 64) -> Losses:
    return model.loss(*tensors(texts, row_length), z_penalty=z_penalty)


@pytest.mark.parametrize("row_length", [32, 64, 128])
def test_the_loss_of_packed_rows_is_the_sum_of_each_document_alone(row_length: int) -> None:
    model = lively()
    texts = documents(np.random.default_rng(3), [3, 32, 17, 8, 25, 2, 30])
    together = loss_of(model, texts, z_penalty=0.01, row_length=row_length)
    total, nll, hits, num_targets = 0.0, 0.0, 0, 0
    for number in range(len(texts)):
        mine = texts.take(number, number + 1)
        logits = model.logits(alone(model, mine.ids)[:-1]).detach()
        log_z, log_probs = logits.logsumexp(dim=-1), logits.log_softmax(dim=-1)
        for place in np.flatnonzero(mine.loss[1:]):
            target = int(mine.ids[place + 1])
            nll -= float(log_probs[place, target])
            total += float(-log_probs[place, target] + 0.01 * log_z[place] ** 2)
            hits += int(log_probs[place].argmax() == target)
            num_targets += 1
    assert together.num_targets == num_targets
    assert float(together.nll) == pytest.approx(nll, rel=1e-5)
    assert float(together.total.detach()) == pytest.approx(total, rel=1e-5)
    assert int(together.hits) == hits


def test_the_loss_is_differentiated_as_written_out() -> None:
    model = lively()
    batch = tensors(documents(np.random.default_rng(4), [20, 9, 30, 14]), 64)
    model.loss(*batch, z_penalty=0.05).total.backward()
    fused = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    tokens, targets, positions, document_ids = batch
    graded = targets != IGNORE
    logits = model.logits(model(tokens, positions, document_ids)[graded])
    log_z = logits.logsumexp(dim=-1)
    nll = log_z - logits.gather(1, targets[graded][:, None])[:, 0]
    (nll + 0.05 * log_z.square()).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(fused[name], parameter.grad, rtol=1e-5, atol=1e-7)


def test_a_batch_without_targets_has_no_loss() -> None:
    texts = documents(np.random.default_rng(5), [9, 9])
    silent = Documents(texts.ids, np.zeros_like(texts.loss), texts.offsets)
    losses = loss_of(Model(SMALL), silent)
    assert (float(losses.total.detach()), float(losses.nll), losses.num_targets) == (0.0, 0.0, 0)


@pytest.mark.parametrize(("z_penalty", "is_near"), [(0.1, True), (0.0, False)])
def test_the_penalty_pulls_log_z_to_zero(z_penalty: float, is_near: bool) -> None:
    model = Model(SMALL)
    batch = tensors(documents(np.random.default_rng(6), [24] * 12, vocab_size=9), 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        losses = model.loss(*batch, z_penalty=z_penalty)
        (losses.total / losses.num_targets).backward()
        optimizer.step()
    tokens, targets, positions, document_ids = batch
    with torch.no_grad():
        hidden = model(tokens, positions, document_ids)[targets != IGNORE]
        log_z = model.logits(hidden).logsumexp(dim=-1)
    assert (float(log_z.abs().mean()) < 0.5) == is_near


@pytest.mark.parametrize("option", OPTIONS)
def test_bf16_autocast_stays_close_to_full_precision_and_keeps_float32_gradients(option: str) -> None:
    # What happens on a GPU, rehearsed on the CPU: the same casts, the same mixture of types.
    model = Model(OPTIONS[option])
    batch = tensors(documents(np.random.default_rng(7), [30, 20, 31, 9]), 64)
    model.loss(*batch, z_penalty=1e-3).total.backward()
    full = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    exact = model.loss(*batch)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model.loss(*batch, z_penalty=1e-3)
    rounded.total.backward()
    assert float(rounded.nll) == pytest.approx(float(exact.nll), rel=0.01)
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype == torch.float32
        cosine = torch.cosine_similarity(parameter.grad.flatten(), full[name].flatten(), dim=0)
        assert cosine > 0.99, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "model.width must be at least 1, not 0"),
        ({"num_layers": -1}, "model.num_layers must be at least 1"),
        ({"num_heads": 3}, "even multiple of num_heads 3"),
        ({"width": 12}, "even multiple of num_heads 4"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3 must divide num_heads 4"),
        ({"attention": "flash"}, "model.attention must be one of full, sliding, linear, not 'flash'"),
        ({"span": 0}, "model.span must be at least 1"),
        ({"attention": "sliding", "span": 129}, "model.span 129 must not exceed model.window 128"),
    ],
)
def test_impossible_shapes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**({"width": 32, "num_heads": 4, "num_key_value_heads": 2} | change))
