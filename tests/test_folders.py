"""Pictures that are read while they are used: the same as those read at once, and bad files do not end a run."""

import threading
import warnings
import weakref

import pytest
import torch
from conftest import write_noise

from arlib import data, training
from arlib.folders import Folder, Joined, Mirrored, digest
from arlib.storage import DataError, Notice
from arlib.training import Settings, batch_indices, fit, read_ahead


@pytest.fixture
def folder(tmp_path):
    """Seven pictures of 8×12, read at once by Pillow as what they were written from."""
    return tmp_path, write_noise(tmp_path, 7, 8, 12)


def test_asking_for_places_is_asking_a_tensor(folder):
    path, images = folder
    lazy = Folder(data.folder_files(path), 8, 12)
    places = torch.tensor([3, 3, 0, 6])
    assert torch.equal(lazy[places], images[places])
    assert lazy.shape == images.shape
    assert len(lazy) == 7
    both = Mirrored(lazy)
    places = torch.tensor([2, 7, 9, 13])
    assert torch.equal(both[places], torch.cat([images, images.flip(2)])[places])
    assert both.shape == (14, 8, 12, 3)
    assert len(both) == 14
    small = Folder(data.folder_files(path), 6, 4, channels=1)  # of another size, and gray
    expected = data.read_image(path / "03.png", 6, 4, fit=True, channels=1)
    assert torch.equal(small[torch.tensor([3])], expected[None])
    assert len(digest(expected)) == 16


def test_sets_are_joined_at_the_places_that_are_chosen():
    ten, twenty = 10 + torch.arange(5, dtype=torch.uint8)[:, None], 20 + torch.arange(3, dtype=torch.uint8)[:, None]
    both = Joined([ten, twenty], [torch.tensor([4, 0]), torch.tensor([1])])  # 14, 10, 21
    assert both[torch.tensor([2, 0, 1, 0])].tolist() == [[21], [14], [10], [14]]
    assert both[torch.tensor([1])].dtype == torch.uint8
    assert both.shape == (3, 1)
    assert len(both) == 3


def test_the_next_good_file_stands_in_and_the_first_of_each_kind_is_told(folder):
    path, images = folder
    for number in (1, 2, 6):
        (path / f"{number:02}.png").write_bytes(b"no picture")
    held_out = {digest(images[0])}
    lazy = Folder(data.folder_files(path), 8, 12, held_out=held_out)
    with pytest.warns(Notice) as told:
        found = lazy[torch.arange(7)]
    assert torch.equal(found, images[[3, 3, 3, 3, 4, 5, 3]])
    messages = [str(notice.message) for notice in told]
    assert len(messages) == 2
    assert "0.png shows a held-out picture" in messages[0]
    assert "1.png" in messages[1]
    # Whoever asks first, and in which order, does not matter.
    with pytest.warns(Notice):
        again = Folder(data.folder_files(path), 8, 12, held_out=held_out)[torch.arange(6, -1, -1)]
    assert torch.equal(again, found.flip(0))


def test_a_folder_without_a_good_file_is_refused(folder):
    path, _ = folder
    for number in range(7):
        (path / f"{number:02}.png").write_bytes(b"no picture")
    with pytest.warns(Notice), pytest.raises(DataError, match=r"None of the 7 files can be used\. The first: .*0\.png"):
        Folder(data.folder_files(path), 8, 12)[torch.tensor([4])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # for an only file, no other one stands in: nothing is told but the error
        with pytest.raises(DataError, match="None of the 1 files"):
            Folder([path / "00.png"], 8, 12)[torch.tensor([0])]


class Counted:
    """Examples that count how many of their batches are alive, and in which threads they were read."""

    def __init__(self, count):
        self.shape = (count, 2)
        self.alive, self.most, self.threads = 0, 0, set()

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, places):
        batch = places[:, None].repeat(1, 2)
        self.alive += 1
        self.most = max(self.most, self.alive)
        self.threads.add(threading.current_thread().name)
        weakref.finalize(batch, self.gone)
        return batch

    def gone(self):
        self.alive -= 1


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_are_read_ahead_in_their_order_and_only_a_few_of_them(workers):
    examples = Counted(100)
    chosen = [torch.tensor([step, 2 * step]) for step in range(50)]
    for step, (batch,) in enumerate(read_ahead((examples,), chosen, workers)):
        assert batch[:, 0].tolist() == [step, 2 * step]
        del batch
    assert step == 49
    assert 1 < examples.most <= 2 * workers + 2
    assert threading.main_thread().name not in examples.threads


def test_what_goes_wrong_in_a_thread_is_raised_where_batches_are_used():
    class Bad(Counted):
        def __getitem__(self, places):
            raise DataError("This picture is bad.")

    with pytest.raises(DataError, match="This picture is bad"):
        next(read_ahead((Bad(3),), [torch.tensor([0])], 1))


def test_training_sees_of_a_folder_what_it_would_see_of_a_tensor(folder, tmp_path):
    path, images = folder
    settings = Settings(9, 4, 1e-3, workers=2)

    class Kept(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))
            self.seen = []

        def forward(self, batch):
            self.seen.append(batch)
            return self.weight * batch.float().mean()

    lazy, known = Kept(), Kept()
    fit(lazy, Folder(data.folder_files(path), 8, 12), settings, tmp_path / "lazy")
    fit(known, images, settings, tmp_path / "known")
    assert all(torch.equal(a, b) for a, b in zip(lazy.seen, known.seen, strict=True))
    expected = [images[batch_indices(7, step, settings)] for step in range(9)]
    assert all(torch.equal(a, b) for a, b in zip(lazy.seen, expected, strict=True))
    assert torch.equal(lazy.weight, known.weight)
    assert lazy.weight != 1
    assert training.first_process()
