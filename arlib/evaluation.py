"""What samples are worth, next to reconstructions and to real pictures, in the eyes of a judge (chapters 13 to 15).

No number says it alone: accuracy and precision like a prior that always draws the same, the Fréchet distance likes
typical pictures, recall does not ask how they look. So they are measured together, and `BLIND` says of each what it
cannot see.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from arlib import checkpoints, data, judges, metrics, tokenset, training
from arlib.data import DataError
from arlib.judges import ClassificationLoss, Judge
from arlib.metrics import Moments
from arlib.tokenizer import ImageTokenizer

ONE_BY_ONE = 2000  # how many real pictures' features are stored one by one
NEIGHBORS = 1000  # precision and recall take this many pictures on each side at most: half of those stored

BLIND = {
    "accuracy": "Variety: one good picture of each class, drawn again and again, gets 100 %.",
    "distance": "Copies, and collapse: it compares averages, and likes typical pictures. Compare it at equal n alone.",
    "limit": "Chance: it takes away the error of a small n on average, and a straight line is assumed.",
    "decoded": "Blur: it forgives whatever the tokenizer lost.",
    "precision": "Variety, and often mush: what is near to one real picture counts as real.",
    "recall": "Looks: pictures far from all others have large balls, which cover much.",
    "distinct": "Near copies, and copies of training pictures: one other token makes a picture distinct.",
    "bits": "Pictures: it counts tokens, and a tokenizer that loses more needs fewer bits.",
    "speed": "Everything but this machine, today.",
}


@dataclass
class Reference:
    """Features of the real test pictures of a data set, for use where the pictures themselves are not at hand.

    `moments` are those of all `count` pictures; `features (n, F)` and `labels (n,)` belong to the first n of them.
    `judge` is the SHA-256 of the judge's weights file, `accuracy` its share of right classes among all pictures.
    """

    name: str
    moments: Moments
    features: torch.Tensor
    labels: torch.Tensor
    count: int
    accuracy: float
    judge: str

    def rest(self) -> Moments:
        """The moments of those pictures that are not stored one by one."""
        mean, covariance = self.moments
        some = self.features.double()
        left = self.count - len(some)
        squares = (self.count - 1) * covariance + self.count * mean.outer(mean) - some.T @ some
        mean = (self.count * mean - some.sum(dim=0)) / left
        return mean, (squares - left * mean.outer(mean)) / (left - 1)


def make_reference(name: str, judge: Judge, judge_hash: str, images: torch.Tensor, labels: torch.Tensor) -> Reference:
    """What the judge sees in real test pictures `(N, H, W, C) uint8` with their classes `(N,) int64`."""
    features, classes = judge.look(images)
    accuracy = (classes == labels).double().mean().item()
    some = features[: min(ONE_BY_ONE, len(features) // 2)].half().float()  # as the file will hold them
    moments = metrics.moments(features)
    return Reference(name, moments, some, labels[: len(some)], len(features), accuracy, judge_hash)


def save_reference(path: str | Path, reference: Reference) -> None:
    """Write a reference: mean and covariance in float64, features in float16, and the judge's hash in the header."""
    mean, covariance = reference.moments
    tensors = {
        "mean": mean.contiguous(),
        "covariance": covariance.contiguous(),
        "features": reference.features.half().contiguous(),
        "labels": reference.labels.to(torch.uint8).contiguous(),
    }
    facts = {key: getattr(reference, key) for key in ("name", "count", "accuracy", "judge")}
    header = {"arlib": json.dumps({"kind": "reference", **facts}, sort_keys=True)}
    data.write_atomically(path, lambda partial: save_file(tensors, partial, metadata=header))


def load_reference(name: str, judge: str | None = None) -> Reference:
    """The shipped reference of a data set ("digits", "cifar10"), or that of a path that ends in ".safetensors".

    `judge` is the hash that the judge in use has. Raises `DataError` where there is no such file, or where it holds the
    features of another judge.
    """
    path = Path(name) if name.endswith(".safetensors") else data.root() / "judges" / f"{name}-test.safetensors"
    if not path.is_file():
        raise DataError(f"There is no file {path} with the features of real pictures (tools/make_references.py).")
    header = checkpoints.read_header(path)
    if header.get("kind") != "reference":
        raise DataError(f"{path} does not hold the features of real pictures.")
    if judge is not None and header["judge"] != judge:
        raise DataError(f"{path} holds features of another judge than this one. Make it again for yours.")
    try:
        with safe_open(path, framework="pt") as stored:
            mean, covariance = stored.get_tensor("mean"), stored.get_tensor("covariance")
            features, labels = stored.get_tensor("features").float(), stored.get_tensor("labels").long()
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged: {error}.") from None
    facts = {key: header[key] for key in ("name", "count", "accuracy", "judge")}
    return Reference(moments=(mean, covariance), features=features, labels=labels, **facts)


def load_judge(name: str) -> tuple[Judge, Reference]:
    """The shipped judge of a data set, and what it has seen in the real test pictures."""
    judge = judges.load(name)
    return judge, load_reference(name, checkpoints.sha256(checkpoints.find("judge", name)))


@dataclass
class Scores:
    """What a judge says of `count` pictures.

    `accuracy` is the share whose class is seen as it was asked for and `worst` the class with the lowest, with its
    share; None without labels. `distance` is the Fréchet distance to the real test pictures, `limit` what it would be
    for endlessly many, `precision` and `recall` are those of k-th neighbors.
    """

    count: int
    accuracy: float | None
    worst: tuple[int, float] | None
    distance: float
    limit: float
    precision: float
    recall: float


def score(judge: Judge, reference: Reference, images: torch.Tensor, labels: torch.Tensor | None = None) -> Scores:
    """The scores of pictures `(N, H, W, C) uint8`, of which the classes `(N,) int64` were asked for.

    Reconstructions of test pictures are flattered a little: their originals are among the pictures that `distance`
    compares them with. `score_real` compares real ones with the others alone.
    """
    features, classes = judge.look(images)
    accuracy, worst = None, None
    if labels is not None:
        right = (classes == labels).double()
        accuracy = right.mean().item()
        shares = [(right[labels == label].mean().item(), int(label)) for label in labels.unique()]
        worst = min(shares)[::-1]
    count = min(len(features), NEIGHBORS, len(reference.features) // 2)
    precision, recall = metrics.precision_recall(features[:count], reference.features[:count])
    distance = metrics.frechet(features, reference.moments)
    limit = metrics.frechet_extrapolated(features, reference.moments)
    return Scores(len(images), accuracy, worst, distance, limit, precision, recall)


def score_real(reference: Reference, count: int) -> Scores:
    """The scores of `count` real test pictures against the others: what perfect samples would get, the floor.

    Of more than are stored one by one (2,000), it is that of those stored.
    """
    features, rest = reference.features, reference.rest()
    count = min(count, len(features))
    distance = metrics.frechet_floor(features, count, rest)
    limit = metrics.frechet_extrapolated(features[-count:], rest)
    near = min(count, NEIGHBORS, len(features) // 2)
    precision, recall = metrics.precision_recall(features[-near:], features[:near])
    return Scores(count, reference.accuracy, None, distance, limit, precision, recall)


def real_tokens(
    name: str, tokenizer: ImageTokenizer, tokenizer_hash: str, count: int
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Grids and labels of the last `count` real test pictures (the first ones may be those of the `Reference`).

    From a shipped token set of that tokenizer, from the pictures where there is none and they are at hand, and None
    where there is neither.
    """
    for path in sorted((data.root() / "tokens").glob("*test*.tokens")):
        stored = tokenset.mapped(path)
        if stored.labels is not None and tokenizer_hash.startswith(stored.tokenizer):
            last = torch.arange(max(0, len(stored.grids) - count), len(stored.grids))
            return stored.grids[last], stored.labels[last]
    try:
        images, labels = data.load(name, "test")[-count:], data.labels(name, "test")[-count:]
    except DataError:
        return None
    return tokenizer.encode(images), labels


def usefulness(
    name: str, images: torch.Tensor, labels: torch.Tensor, steps: int = 300, width: int = 16, seed: int = 0
) -> dict[str, float]:
    """What samples are good for: the accuracy on real test pictures of a fresh judge that has learned from them alone.

    Next to it, the same net after the same number of steps on as many real training pictures, and on both together.
    Raises `DataError` where the real pictures are not at hand.
    """
    real, real_labels = data.load(name, "train")[: len(images)], data.labels(name, "train")[: len(images)]
    lessons = {
        "samples": (images, labels),
        "real": (real, real_labels),
        "both": (torch.cat([images, real]), torch.cat([labels, real_labels])),
    }
    test, truth = data.load(name, "test"), data.labels(name, "test")
    accuracies = {}
    for lesson, examples in lessons.items():
        torch.manual_seed(seed)
        student = Judge(images.shape[3], images.shape[1], len(data.CLASSES[name]), width)
        settings = training.Settings(steps, batch_size=64, learning_rate=1.5e-3, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            training.fit(ClassificationLoss(student, flips=name == "cifar10"), examples, settings, folder)
        student.eval()
        accuracies[lesson] = (student.classify(test) == truth).double().mean().item()
    return accuracies
