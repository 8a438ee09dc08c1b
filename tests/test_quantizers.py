"""Quantizers, against codes and averages worked out by hand, brute force, and the mistakes that no loss shows."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arlib import checkpoints
from arlib.quantizers import BSQ, VQ, Product, Residual
from arlib.scales import Pyramid
from arlib.tokenizer import ImageTokenizer, quantizer_from_config, to_float


def test_codes_worked_out_by_hand():
    # Dimension 0 counts 1, dimension 1 counts 2, dimension 2 counts 4; zero and minus zero are not negative.
    latent = torch.tensor([[0.3, -2.0, 5.0], [-1.0, -1.0, -1.0], [0.0, -0.0, -1e-30], [-0.1, 7.0, 0.1]])
    assert BSQ(3).encode(latent).tolist() == [1 + 4, 0, 1 + 2, 2 + 4]


@given(st.integers(1, 18))
def test_every_code_comes_back_and_its_vector_lies_on_the_sphere(bits):
    quantizer = BSQ(bits)
    codes = torch.arange(0, 2**bits, max(1, 2**bits // 1000))
    vectors = quantizer.decode(codes)
    assert torch.equal(quantizer.encode(vectors), codes)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(len(codes)), atol=1e-6)
    assert torch.allclose(vectors.abs(), torch.tensor(1 / math.sqrt(bits)))


def test_forward_gives_the_vector_of_the_code():
    latent = torch.randn(5, 7, 10, generator=torch.Generator().manual_seed(0))
    quantizer = BSQ(10)
    assert torch.allclose(quantizer(latent), quantizer.decode(quantizer.encode(latent)), atol=1e-6)
    latent[..., ::2] = 0.0  # which counts as positive in both
    assert torch.allclose(quantizer(latent), quantizer.decode(quantizer.encode(latent)), atol=1e-6)
    loss = quantizer.loss(latent)
    assert (loss.shape, loss.item()) == ((), 0.0)


def test_the_nearest_corner_is_the_one_taken():
    latent = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    quantizer = BSQ(6)
    on_sphere = latent / latent.norm(dim=-1, keepdim=True)
    distances = torch.cdist(on_sphere, quantizer.decode(torch.arange(64)))
    assert torch.equal(quantizer.encode(latent), distances.argmin(dim=-1))


@pytest.mark.parametrize("shape", [(4, 10), (3, 5, 7, 10)])
def test_the_gradient_is_that_of_the_normalization_alone(shape):
    latent = torch.randn(shape, generator=torch.Generator().manual_seed(2), requires_grad=True)
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    (BSQ(10)(latent) * weights).sum().backward()
    assert latent.grad is not None
    # d(u/|u|) = (I - û ûᵀ) / |u|, written out.
    length = latent.detach().norm(dim=-1, keepdim=True)
    unit = latent.detach() / length
    expected = (weights - unit * (unit * weights).sum(-1, keepdim=True)) / length
    assert torch.allclose(latent.grad, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_precision_latents_give_the_same_codes(dtype):
    latent = torch.randn(500, 18, generator=torch.Generator().manual_seed(4)).to(dtype)
    assert torch.equal(BSQ(18).encode(latent), BSQ(18).encode(latent.double()))


@pytest.mark.parametrize("bits", [0, -1, 19])
def test_one_to_eighteen_bits(bits):
    with pytest.raises(ValueError, match="1 to 18"):
        BSQ(bits)


# ---- VQ ----


def vq(codes: list[list[float]], **options) -> VQ:
    """A VQ with these codes, as if it had seen a batch before."""
    quantizer = VQ(len(codes), len(codes[0]), **options)
    with torch.no_grad():
        quantizer.codes.copy_(torch.tensor(codes))
    quantizer.usage.fill_(1.0)
    return quantizer


def brute_force(latent: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """The nearest code by all differences in float64, the first one of equals."""
    return (latent.double()[..., None, :] - codes.double()).square().sum(-1).argmin(-1)


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 9), st.floats(0.01, 100))
def test_vq_takes_the_nearest_code(seed, size, dim, scale):
    generator = torch.Generator().manual_seed(seed)
    quantizer = VQ(size, dim)
    quantizer.codes.copy_(scale * torch.randn(size, dim, generator=generator))
    latent = scale * torch.randn(3, 5, dim, generator=generator)
    index = quantizer.encode(latent)
    assert index.shape == (3, 5)
    assert index.dtype == torch.int64
    gaps = (latent[..., None, :] - quantizer.codes).double().square().sum(-1)
    # Where two codes are equally near up to the rounding of a float, either will do.
    assert torch.allclose(gaps.gather(-1, index[..., None])[..., 0], gaps.amin(-1), rtol=1e-4, atol=1e-5 * scale**2)
    assert (index == brute_force(latent, quantizer.codes)).double().mean() > 0.8


def test_of_equally_near_codes_the_first_is_taken():
    quantizer = vq([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert quantizer.encode(torch.tensor([[0.0, -5.0], [-3.0, 0.0], [0.0, 0.0], [0.5, 0.5]])).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("offset", [0, 10, 100])
def test_vq_is_exact_in_half_precision_however_far_from_zero(offset):
    """The expanded square in bfloat16 would take a wrong code nearly always (see the facts of chapter 3)."""
    generator = torch.Generator().manual_seed(0)
    quantizer = VQ(256, 10)
    quantizer.codes.copy_(torch.randn(256, 10, generator=generator) + offset)
    latent = torch.randn(2000, 10, generator=generator) + offset
    expected = brute_force(latent, quantizer.codes)
    with torch.autocast("cpu", torch.bfloat16):
        # The right code may be missed by one that is as near up to a float's last digits, and by no other.
        assert (quantizer.encode(latent) == expected).double().mean() > 0.998
        flat, codes = latent.bfloat16(), quantizer.codes.bfloat16()
        naive = flat.square().sum(-1, keepdim=True) - 2 * flat @ codes.T + codes.square().sum(-1)
        assert quantizer.train()(latent).dtype == torch.float32
    wrong = (naive.argmin(-1) != expected).double().mean()
    assert wrong > (0.8 if offset else 0.01)


def test_the_moving_average_worked_out_by_hand():
    quantizer = vq([[0.0, 0.0], [4.0, 0.0], [50.0, 50.0]], decay=0.9, revival=0.0).train()
    latent = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [5.0, 2.0]])
    out = quantizer(latent)
    # What comes out are the codes before they move.
    assert torch.allclose(out, torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [4.0, 0.0]]), atol=1e-6)
    # Shares of 3, 1 and 0 of 4 latents, and 1 is an even use of three codes: 9/4, 3/4, 0.
    usage = [0.9 + 0.1 * 9 / 4, 0.9 + 0.1 * 3 / 4, 0.9]
    assert torch.allclose(quantizer.usage, torch.tensor(usage))
    # m ← 0.9 m + 0.1 Σz, n ← 0.9 n + 0.1 count (appendix A.1), each times 3 / 4, and the code is m / n.
    first = [(0.9 * 0 + 0.1 * 0.75 * 2) / usage[0], (0.9 * 0 + 0.1 * 0.75 * 2) / usage[0]]
    second = [(0.9 * 4 + 0.1 * 0.75 * 5) / usage[1], (0.9 * 0 + 0.1 * 0.75 * 2) / usage[1]]
    assert torch.allclose(quantizer.codes, torch.tensor([first, second, [50.0, 50.0]]))


def test_a_code_that_none_chooses_stays_where_it_is():
    """Without revival it waits, however long: its average has no new member, so its mean does not change."""
    quantizer = vq([[0.0, 0.0], [9.0, 9.0]], decay=0.9, revival=0.0).train()
    for _ in range(300):
        quantizer(torch.zeros(4, 2))
    assert quantizer.usage[1] < 1e-12
    assert quantizer.codes.tolist() == [[0.0, 0.0], [9.0, 9.0]]


def test_dead_codes_are_put_onto_latents_and_living_ones_are_not():
    torch.manual_seed(0)
    quantizer = vq([[0.0], [100.0], [200.0]], decay=0.9, revival=0.5).train()
    latent = torch.tensor([[1.0], [2.0], [3.0]])
    for _ in range(6):  # 0.9^6 = 0.53: just above the threshold
        quantizer(latent)
    assert quantizer.codes[1:].tolist() == [[100.0], [200.0]]
    quantizer(latent)  # 0.9^7 = 0.48
    assert {float(code) for code in quantizer.codes[1:]} <= {1.0, 2.0, 3.0}
    assert quantizer.usage[1:].tolist() == [1.0, 1.0]
    assert 1.0 < quantizer.codes[0] < 3.0  # the living one goes on moving


def test_the_first_batch_gives_the_codes():
    torch.manual_seed(0)
    latent = torch.randn(2, 3, 4)
    quantizer = VQ(5, 4, revival=0.0).train()
    assert quantizer.encode(latent).unique().tolist() == [0]  # nothing seen yet
    assert not quantizer.usage.any()
    out = quantizer(latent)
    # The codes that the first pass gives out are latents of its own batch.
    rows = {tuple(row) for row in latent.flatten(0, 1).tolist()}
    assert all(min((torch.tensor(row) - code).abs().max() for row in rows) < 1e-6 for code in out.flatten(0, 1))
    assert len(out.flatten(0, 1).unique(dim=0)) > 2
    in_eval = VQ(5, 4).eval()
    in_eval(latent)
    assert not in_eval.codes.any()


@pytest.mark.parametrize("decay", [0.9, 0.99, None])
def test_usage_begins_at_an_even_share_and_its_mean_stays_there(decay):
    """Codes that gradients move count their use too, at the usual pace of 0.99."""
    quantizer = VQ(4, 2, decay=decay, revival=0.0).train()
    latent = torch.tensor([[0.0, 0.0], [5.0, 5.0]])
    quantizer(latent)
    shares = torch.bincount(quantizer.encode(latent), minlength=4) * 2.0  # of two latents, 1 being one in four
    pace = 0.99 if decay is None else decay
    assert torch.allclose(quantizer.usage, pace + (1 - pace) * shares)
    assert quantizer.usage.mean().item() == pytest.approx(1)


def test_any_latent_of_a_batch_can_become_a_code():
    torch.manual_seed(0)
    latent = torch.arange(6.0)[:, None]
    assert VQ(200, 1, revival=0.0).train()(latent).unique().tolist() == pytest.approx(latent[:, 0].tolist())
    quantizer = vq([[100.0 + code] for code in range(200)], revival=1.0).train()
    quantizer(latent)
    assert set(quantizer.codes[1:, 0].tolist()) == set(range(6))


def test_a_code_at_the_threshold_lives():
    quantizer = vq([[0.0], [9.0]], decay=0.5, revival=0.5).train()
    quantizer(torch.zeros(4, 1))
    assert quantizer.codes.tolist() == [[0.0], [9.0]]
    assert quantizer.usage.tolist() == [1.5, 0.5]


@pytest.mark.parametrize("mode", [True, False])
def test_encode_decode_and_loss_never_move_a_code(mode):
    """A tokenizer stands still while a prior learns its tokens, even where somebody called train() on all of it."""
    for quantizer in (vq([[0.0, 1.0], [5.0, 5.0]], revival=5.0), vq([[0.0, 1.0], [5.0, 5.0]], decay=None, revival=5.0)):
        quantizer.train(mode)
        before = {name: value.clone() for name, value in quantizer.state_dict().items()}
        latent = torch.randn(20, 2)
        quantizer.decode(quantizer.encode(latent))
        quantizer.loss(latent)
        assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


def test_eval_mode_moves_nothing_and_train_mode_does():
    quantizer = vq([[0.0, 1.0], [5.0, 5.0]])
    before = quantizer.codes.clone()
    quantizer.eval()(torch.randn(20, 2))
    assert torch.equal(quantizer.codes, before)
    quantizer.train()(torch.randn(20, 2))
    assert not torch.equal(quantizer.codes, before)


def test_straight_through_copies_the_gradient_and_leaves_the_codes_alone():
    for decay in (0.99, None):
        quantizer = vq([[0.0, 1.0], [5.0, 5.0]], decay=decay)
        latent = torch.randn(7, 2, requires_grad=True)
        weights = torch.randn(7, 2)
        (quantizer(latent) * weights).sum().backward()
        assert latent.grad is not None
        assert torch.equal(latent.grad, weights)
        assert quantizer.codes.grad is None


def test_the_loss_by_hand_and_whom_it_moves():
    """β weighs the term that draws *latents* to codes; it is the other one in many a published program."""
    latent = torch.tensor([[1.0, 0.0], [5.0, 8.0]], requires_grad=True)
    averaged = vq([[0.0, 0.0], [5.0, 5.0]], commitment=0.25)
    loss = averaged.loss(latent)
    assert loss.item() == pytest.approx(0.25 * (1 + 9) / 4)
    loss.backward()
    # d/dz β |z - c|² / 4 = β (z - c) / 2: a step against it goes *towards* the code.
    assert torch.allclose(latent.grad, 0.25 / 2 * torch.tensor([[1.0, 0.0], [0.0, 3.0]]))  # type: ignore[arg-type]

    latent.grad = None
    learned = vq([[0.0, 0.0], [5.0, 5.0]], decay=None, commitment=0.25)
    loss = learned.loss(latent)
    assert loss.item() == pytest.approx(1.25 * (1 + 9) / 4)
    loss.backward()
    assert torch.allclose(latent.grad, 0.25 / 2 * torch.tensor([[1.0, 0.0], [0.0, 3.0]]))  # type: ignore[arg-type]
    # And the codes are drawn to their latents with full weight.
    assert torch.allclose(learned.codes.grad, 1 / 2 * torch.tensor([[-1.0, 0.0], [0.0, -3.0]]))  # type: ignore[arg-type]


@pytest.mark.parametrize("decay", [0.99, None])
def test_the_loss_pulls_latents_to_their_codes(decay):
    """Written after the straight-through line, `loss(quantizer(z))` is blind or pushes them away: no error shows it."""
    torch.manual_seed(0)
    quantizer = vq(torch.randn(8, 3).tolist(), decay=decay).eval()
    latent = torch.randn(50, 3, requires_grad=True)
    codes = quantizer.decode(quantizer.encode(latent)).detach()

    def pull(loss: torch.Tensor) -> float:
        latent.grad = None
        loss.backward()
        assert latent.grad is not None
        return (-latent.grad * (codes - latent)).sum().item()  # above 0: a step goes towards the code

    assert pull(quantizer.loss(latent)) > 0.1
    assert pull(quantizer.loss(quantizer(latent))) == pytest.approx(0, abs=1e-5)
    # The form of the bug in which the codebook's term turns round: q is z + (c - z).detach() there.
    assert pull((quantizer(latent) - latent.detach()).square().mean()) < -0.1


def test_gradients_teach_a_codebook_without_averages():
    torch.manual_seed(0)
    quantizer = VQ(4, 2, decay=None).train()
    data = torch.tensor([[0.0, 0.0], [0.0, 3.0], [3.0, 0.0], [3.0, 3.0]]).repeat(16, 1) + 0.1 * torch.randn(64, 2)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.1)
    for _ in range(60):
        quantizer(data)
        optimizer.zero_grad()
        quantizer.loss(data).backward()
        optimizer.step()
    assert quantizer.eval().encode(data).unique().numel() == 4
    assert (quantizer(data) - data).square().mean() < 0.05


# ---- Several codebooks ----


def test_product_by_hand():
    quantizer = Product([vq([[0.0], [10.0]]), vq([[1.0, 1.0], [-1.0, -1.0]])]).eval()
    assert (quantizer.latent_dim, quantizer.codebook_size, quantizer.codebooks) == (3, 2, 2)
    latent = torch.tensor([[4.0, 3.0, 0.0], [6.0, -3.0, 0.0]])
    index = quantizer.encode(latent)
    assert index.tolist() == [[0, 0], [1, 1]]
    assert index.dtype == torch.int64
    expected = [[0.0, 1.0, 1.0], [10.0, -1.0, -1.0]]
    assert quantizer.decode(index).tolist() == expected
    assert torch.allclose(quantizer(latent), torch.tensor(expected), atol=1e-5)
    # Parts' losses: 0.25 · (16 + 16) / 2 and 0.25 · (4 + 1 + 4 + 1) / 4; their mean.
    assert quantizer.loss(latent).item() == pytest.approx((4 + 0.625) / 2)


def residual() -> Residual:
    return Residual([vq([[0.0, 0.0], [10.0, 0.0]]), vq([[1.0, 0.0], [0.0, 2.0]]), vq([[0.0, 0.0], [0.0, 0.5]])]).eval()


def test_residual_by_hand():
    quantizer = residual()
    assert (quantizer.latent_dim, quantizer.codebook_size, quantizer.codebooks) == (2, 2, 3)
    latent = torch.tensor([[9.0, 2.4], [2.0, 0.1]])
    # 9, 2.4: code 1 leaves -1, 2.4; code 1 leaves -1, 0.4; code 1 leaves -1, -0.1.
    # 2, 0.1: code 0 leaves it; code 0 leaves 1, 0.1; code 0 leaves that.
    index = quantizer.encode(latent)
    assert index.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert index.dtype == torch.int64
    assert quantizer.decode(index).tolist() == [[10.0, 2.5], [1.0, 0.0]]
    assert torch.allclose(quantizer(latent), torch.tensor([[10.0, 2.5], [1.0, 0.0]]), atol=1e-5)
    each = [(1 + 5.76 + 4 + 0.01), (1 + 0.16 + 1 + 0.01), (1 + 0.01 + 1 + 0.01)]
    assert quantizer.loss(latent).item() == pytest.approx(0.25 * sum(each) / 4 / 3, rel=1e-4)


def test_the_first_codes_of_a_residual_are_a_coarser_vector_and_the_last_are_not():
    torch.manual_seed(0)
    quantizer = Residual([VQ(16, 4) for _ in range(3)]).train()
    latent = torch.randn(500, 4)
    for _ in range(60):
        quantizer(latent)
    quantizer.eval()
    index = quantizer.encode(latent)
    errors = [(quantizer.decode(index[:, :count]) - latent).square().mean().item() for count in (1, 2, 3)]
    assert errors[0] > 1.3 * errors[1] > 1.3**2 * errors[2]
    books = quantizer.each
    first_dropped = books[1].decode(index[:, 1]) + books[2].decode(index[:, 2])
    assert (first_dropped - latent).square().mean() > errors[0]
    # In another order the codes name another vector.
    assert (quantizer.decode(index.flip(1)) - latent).square().mean() > errors[0]


@pytest.mark.parametrize("build", [lambda parts: Product(parts), lambda parts: Residual(parts)])
def test_several_codebooks_pass_on_gradients_and_learn_in_forward_alone(build):
    torch.manual_seed(0)
    quantizer = build([VQ(8, 3), VQ(8, 3)]).train()
    latent = torch.randn(4, 5, quantizer.latent_dim, requires_grad=True)
    weights = torch.randn(latent.shape)
    (quantizer(latent) * weights).sum().backward()
    assert torch.allclose(latent.grad, weights)  # type: ignore[arg-type]
    assert all(book.usage.any() for book in quantizer.each)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer.loss(latent).backward()
    index = quantizer.encode(latent)
    assert index.shape == (4, 5, 2)
    assert quantizer.decode(index).shape == latent.shape
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())
    assert torch.allclose(quantizer.eval()(latent), quantizer.decode(index), atol=1e-5)


def test_books_of_bsq_and_of_vq_mix():
    quantizer = Product([BSQ(3), vq([[float(code)] for code in range(8)])]).eval()
    latent = torch.tensor([[0.1, -0.2, 0.3, 6.2]])
    assert quantizer.encode(latent).tolist() == [[5, 6]]
    assert torch.allclose(quantizer.decode(torch.tensor([[5, 6]])), quantizer(latent), atol=1e-6)


# ---- Configurations, files, errors ----

EACH = [
    BSQ(5),
    VQ(16, 3),
    VQ(16, 3, decay=None, commitment=0.5, revival=0.0),
    Product([VQ(16, 2), VQ(16, 3, decay=0.9)]),
    Residual([VQ(16, 3), VQ(16, 3)]),
    Pyramid(VQ(16, 3), (1, 2, 3), cut=0.25),
]


@pytest.mark.parametrize("quantizer", EACH, ids=lambda quantizer: type(quantizer).__name__)
def test_a_configuration_is_json_and_builds_the_same_quantizer(quantizer):
    again = quantizer_from_config(json.loads(json.dumps(quantizer.config)))
    assert type(again) is type(quantizer)
    assert again.config == quantizer.config
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in quantizer.state_dict().items()
    }


@pytest.mark.parametrize("quantizer", EACH, ids=lambda quantizer: type(quantizer).__name__)
def test_a_file_gives_back_codes_usage_and_tokens(quantizer, tmp_path):
    """Weights are written in float16; a code that was rounded once is not rounded again."""
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(2, 8, 1, quantizer=quantizer_from_config(quantizer.config)).train()
    images = torch.randint(256, (4, 6, 6, 3), dtype=torch.uint8)
    for _ in range(3):
        tokenizer(to_float(images))
    path, second = tmp_path / "once.safetensors", tmp_path / "twice.safetensors"
    checkpoints.save(path, "tokenizer", tokenizer)
    loaded = checkpoints.load("tokenizer", str(path), ImageTokenizer.from_config)
    checkpoints.save(second, "tokenizer", loaded)
    again = checkpoints.load("tokenizer", str(second), ImageTokenizer.from_config)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, tokenizer.state_dict()[name].half().float())
    assert torch.equal(loaded.encode(images), again.encode(images))
    assert torch.equal(loaded.reconstruct(images), again.reconstruct(images))
    # It has seen its first batch: going on with training does not throw its codes away.
    for part in loaded.modules():
        if isinstance(part, VQ):
            assert part.usage.any()
            assert part.codes.any()


def test_quantizers_that_cannot_be():
    with pytest.raises(ValueError, match="2 codes of 1 number at least"):
        VQ(1, 3)
    with pytest.raises(ValueError, match="2 codes of 1 number at least"):
        VQ(4, 0)
    with pytest.raises(ValueError, match="two or more of one size"):
        Product([VQ(4, 2)])
    with pytest.raises(ValueError, match="two or more of one size"):
        Residual([VQ(4, 2), VQ(8, 2)])
    with pytest.raises(ValueError, match="vectors of one length"):
        Residual([VQ(4, 2), VQ(4, 3)])
    with pytest.raises(ValueError, match="no quantizer 'PQ'"):
        quantizer_from_config({"name": "PQ"})
