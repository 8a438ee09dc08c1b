"""The judge: shapes, batches that do not matter, and moves of pictures that are what they say."""

import pytest
import torch
from torch import nn

from arlib import checkpoints, data, evaluation, judges
from arlib.judges import ClassificationLoss, Judge, augment


def some_images(count: int = 6, size: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.randint(
        256, (count, size, size, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


@pytest.fixture
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(3, 16, classes=5, width=8).eval()


def test_features_classes_and_logits_have_their_shapes(judge):
    images = some_images()
    assert judge.features(images).shape == (6, 32)
    assert judge.features(images).dtype == torch.float32
    assert judge.classify(images).dtype == torch.int64
    features, classes = judge.look(images)
    assert torch.equal(features, judge.features(images))
    assert torch.equal(classes, judge.classify(images))
    logits = judge(images.float() / 255 - 0.5)
    assert torch.equal(logits.argmax(1), classes)


def test_a_picture_is_judged_by_itself_alone(judge):
    images = some_images()
    alone = torch.cat([judge.features(image[None]) for image in images])
    assert torch.allclose(judge.features(images), alone, atol=1e-5)
    judge.train()  # GroupNorm computes in training what it computes afterwards
    assert torch.allclose(judge.features(images), alone, atol=1e-5)


def test_pictures_of_another_size_or_dtype_are_refused(judge):
    for wrong in (some_images(size=18), some_images(channels=1), some_images().float(), some_images()[:0]):
        with pytest.raises(ValueError, match=r"takes pictures \(N, 16, 16, 3\) uint8"):
            judge.features(wrong)


def test_a_saved_judge_comes_back(judge, tmp_path):
    path = tmp_path / "judge-tiny.safetensors"
    checkpoints.save(path, "judge", judge)
    again = judges.load(str(path))
    assert again.config == judge.config
    assert torch.allclose(again.features(some_images()), judge.features(some_images()), atol=1e-2)  # stored as float16


def test_the_shipped_judge_sees_what_it_saw_in_the_real_digits():
    """Its features of the first test pictures were stored, in float16, when it had been trained."""
    judge, reference = evaluation.load_judge("digits")
    images, labels = data.load("digits", "test")[:50], data.labels("digits", "test")[:50]
    features, classes = judge.look(images)
    torch.testing.assert_close(features, reference.features[:50], rtol=2e-3, atol=2e-3)
    assert (classes == labels).sum() >= 49


def test_sizes_are_those_of_the_shipped_judge_of_cifar10_where_they_are_left_out():
    assert Judge(3, 32).config == checkpoints.read_header(checkpoints.find("judge", "cifar10"))["config"]


def test_channels_are_normalized_in_groups_of_eight_or_all_together_where_there_are_fewer():
    for width, sizes in ((8, {8}), (4, {4, 8})):
        norms = [part for part in Judge(3, 16, width=width).modules() if isinstance(part, nn.GroupNorm)]
        assert {norm.num_channels // norm.num_groups for norm in norms} == sizes


def test_moves_keep_every_pixel_inside_and_repeat_the_edge_outside():
    image = torch.arange(9, dtype=torch.uint8).reshape(1, 3, 3, 1)
    moved = augment(image.expand(200, -1, -1, -1), 1, False, torch.Generator().manual_seed(0))
    kinds = {tuple(picture.flatten().tolist()) for picture in moved}
    assert len(kinds) == 9  # three moves down, three to the right
    assert (0, 1, 2, 3, 4, 5, 6, 7, 8) in kinds
    assert (4, 5, 5, 7, 8, 8, 7, 8, 8) in kinds  # up and left by one
    assert all(picture[0] <= picture[2] for picture in kinds)  # never mirrored


def test_flips_mirror_about_half_of_the_pictures():
    image = torch.arange(9, dtype=torch.uint8).reshape(1, 3, 3, 1)
    moved = augment(image.expand(400, -1, -1, -1), 0, True, torch.Generator().manual_seed(0))
    mirrored = (moved == image.flip(2)).flatten(1).all(1)
    assert 150 < mirrored.sum() < 250
    assert torch.equal(moved[~mirrored], image.expand(int((~mirrored).sum()), -1, -1, -1))
    again = [augment(some_images(20), 2, True, torch.Generator().manual_seed(0)) for _ in range(2)]
    assert torch.equal(*again)  # torch's own random state has no part in it


class Looking(nn.Module):
    """In a judge's place: it keeps what it is shown, and says the same of every picture."""

    def __init__(self):
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, pixels):
        self.shown.append(pixels)
        return torch.tensor([[2.0, 1.0, 0.0]]).expand(len(pixels), -1)


def test_pictures_move_by_two_pixels_and_are_not_mirrored_unless_asked_and_classes_are_smoothed_by_a_tenth():
    image = torch.arange(81, dtype=torch.uint8).reshape(1, 9, 9, 1).expand(1000, -1, -1, -1)
    model, labels = Looking(), torch.zeros(1000, dtype=torch.int64)
    loss = ClassificationLoss(model)  # type: ignore[arg-type]
    torch.manual_seed(0)
    chances = torch.tensor([2.0, 1.0, 0.0]).log_softmax(0)
    assert loss.train()(image, labels).item() == pytest.approx(-(0.9 * chances[0] + 0.1 * chances.mean()).item())
    assert loss.eval()(image, labels).item() == pytest.approx(-chances[0].item())
    moved, still = ((shown + 0.5).mul(255).round().int() for shown in model.shown)
    center = {(value // 9 - 4, value % 9 - 4) for value in moved[:, 4, 4, 0].tolist()}
    assert center == {(row, column) for row in range(-2, 3) for column in range(-2, 3)}
    assert (moved[:, :, 0] <= moved[:, :, 8]).all()
    assert torch.equal(still, image)


def test_the_loss_moves_pictures_in_training_alone_as_the_seed_says(judge):
    images, labels = some_images(), torch.arange(6) % 5
    loss = ClassificationLoss(judge, shift=3, flips=True)
    loss.eval()
    assert loss(images, labels) == loss(images, labels)
    loss.train()
    torch.manual_seed(1)
    first, second = loss(images, labels), loss(images, labels)
    torch.manual_seed(1)
    assert first == loss(images, labels) != second


def test_a_judge_learns_to_tell_bright_from_dark(judge):
    torch.manual_seed(0)
    images = torch.cat([some_images(16) // 2, some_images(16) // 2 + 127])
    labels = torch.arange(2).repeat_interleave(16)
    loss = ClassificationLoss(judge)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=3e-3)
    loss.train()
    for _ in range(20):
        optimizer.zero_grad()
        loss(images, labels).backward()
        optimizer.step()
    assert torch.equal(judge.classify(images), labels)
