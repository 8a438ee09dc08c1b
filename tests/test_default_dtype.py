"""`torch.set_default_dtype(torch.float64)`, which many notebooks begin with: models and checkers stay what they are."""

import ast
import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
import torch

import arlib
from arlib import Prior, data, fixedpoint, orders, sampling
from arlib.exercises import checker
from arlib.judges import ClassificationLoss, Judge
from arlib.losses import NextTokenLoss, ReconstructionLoss
from arlib.quantizers import BSQ, VQ, Product, Residual
from arlib.rate import RateDistortionLoss
from arlib.scales import Pyramid
from arlib.sharp import AdversarialLoss, Detail, SharpDecoder, StatisticsLoss
from arlib.tokenizer import ImageTokenizer, Quantizer

BOOK = Path(__file__).resolve().parent.parent / "book"
CHAPTERS = sorted(BOOK.glob("[0-9]*.ipynb"))[1:]


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()  # the chapters' first cells set it
    yield
    torch.set_num_threads(before)


def used() -> list[torch.Tensor]:
    """What the shipped models of each kind give."""
    frame = data.load("supertuxkart", "valid")[:1]
    prior, tokenizer, grid = arlib.load_pipeline("digits-4x4x2")
    drawn = sampling.generate(prior, 2, seed=3)
    tokens = arlib.load_tokenizer().encode(frame)
    file = arlib.compress(frame[0], max_bytes=400)
    digits = tokenizer.decode(orders.unraster(drawn, *grid))
    return [
        drawn,
        digits,
        tokens,
        arlib.load_prior("small")(orders.raster(tokens)),
        arlib.load_decoder().decode(tokens),
        arlib.load_judge().features(digits),
        torch.tensor(list(file)),
        arlib.decompress(file),
        orders.random(3, 5, torch.Generator().manual_seed(0)),
    ]


@torch.no_grad()
def test_shipped_models_give_the_same_numbers():
    expected = used()
    torch.set_default_dtype(torch.float64)
    try:
        found = used()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


FRAMES = torch.arange(2 * 100 * 150 * 3).remainder(251).view(2, 100, 150, 3).to(torch.uint8)
QUANTIZERS: dict[str, Callable[[], Quantizer]] = {
    "BSQ": lambda: BSQ(6),
    "VQ": lambda: VQ(16, 4),
    "Product": lambda: Product([BSQ(4), BSQ(4)]),
    "Residual": lambda: Residual([VQ(8, 4), VQ(8, 4)]),
    "Pyramid": lambda: Pyramid(VQ(8, 4), (1, 2, 4)),
}


def trained_a_step(loss: torch.nn.Module, *batch: torch.Tensor) -> None:
    value = loss.train()(*batch)
    value.backward()
    assert value.dtype == torch.float32
    assert {weight.dtype for weight in loss.parameters()} == {torch.float32}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_new_tokenizers_are_float32_and_learn(quantizer):
    tokenizer = ImageTokenizer(5, 16, 1, QUANTIZERS[quantizer]())
    trained_a_step(ReconstructionLoss(tokenizer), FRAMES[:, :20, :20])
    assert tokenizer.eval().reconstruct(FRAMES[:, :20, :20]).dtype == torch.uint8


@pytest.mark.usefixtures("float64")
def test_a_dial_and_sharp_decoders_are_float32_and_learn():
    dialled = ImageTokenizer(5, 16, 1, BSQ(6), qualities=3)
    trained_a_step(RateDistortionLoss(dialled, [1e-3, 1e-4, 1e-5]), FRAMES)
    plain = ImageTokenizer(5, 16, 1, BSQ(6))
    for kind in (AdversarialLoss, StatisticsLoss):
        decoder = SharpDecoder(plain, Detail(plain.width, 8, 1, 3))
        trained_a_step(kind(decoder), plain.encode(FRAMES).int(), FRAMES)
    trained_a_step(ClassificationLoss(Judge(3, 32), flips=True), FRAMES[:, :32, :32], torch.tensor([0, 1]))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", [{}, {"any_order": True}, {"classes": 3}, {"codebooks": 2}, {"scales": (1, 2)}])
def test_new_priors_are_float32_learn_and_have_a_twin(options):
    length = 5 if "scales" in options else 6
    prior = Prior(8, length, 16, 1, 2, **options)
    tokens = torch.arange(4 * length).view(4, length) % 8
    trained_a_step(NextTokenLoss(prior), tokens, *([torch.tensor([0, 1, 2, 0])] if "classes" in options else []))
    assert fixedpoint.Twin(prior)(tokens).dtype == torch.int64


@pytest.mark.usefixtures("float64")
def test_a_checker_compares_in_float32_and_puts_the_default_back():
    @checker
    def look(answer):
        return str(torch.rand(1).dtype)

    assert "float32" in str(look(None))
    assert torch.get_default_dtype() == torch.float64


def definitions(cells: list[str]) -> dict[str, object]:
    """What a chapter imports and defines, without what it computes, which takes a minute."""
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    names: dict[str, object] = {}
    for cell in cells:
        for node in ast.parse(cell).body:
            if isinstance(node, kept):
                with contextlib.suppress(NameError):  # a class that is made of what was computed
                    exec(compile(ast.Module([node], []), "chapter", "exec"), names)
    return names


def verdicts(path: Path) -> list[str]:
    """What the checkers of a chapter say of its solutions, of those that need none of its figures."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    solved = [cell.source for cell in cells if "solution" in cell.metadata.get("tags", [])]
    known = definitions(
        [cell.source for cell in cells if not {"exercise", "solution"} & {*cell.metadata.get("tags", [])}]
    )
    found = []
    for solution in solved:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.suppress(NameError):
            exec(solution, dict(known))
        if said.getvalue() and "NameError" not in said.getvalue():
            found.append(said.getvalue())
    return found


@pytest.mark.usefixtures("float64")
def test_right_answers_are_right_with_float64_as_the_default():
    found = {path.name: verdicts(path) for path in CHAPTERS}
    assert all(found.values())
    assert sum(map(len, found.values())) > 50  # of 80, so that this test looks at most of them
    for name, said in found.items():
        for verdict in said:
            assert verdict.startswith("Right"), (name, verdict)
