"""Write data/judges/NAME-test.safetensors: what the shipped judges see in the real test pictures.

    python tools/make_references.py [digits] [cifar10]

Needs the pictures (`make cifar10`). To be run again whenever a judge changes: the file holds the judge's hash.
"""

import sys

from arlib import checkpoints, data, evaluation, judges


def main(names: list[str]) -> None:
    for name in names or ["digits", "cifar10"]:
        weights = checkpoints.find("judge", name)
        images, labels = data.load(name, "test"), data.labels(name, "test")
        reference = evaluation.make_reference(name, judges.load(name), checkpoints.sha256(weights), images, labels)
        path = data.root() / "judges" / f"{name}-test.safetensors"
        path.parent.mkdir(exist_ok=True)
        evaluation.save_reference(path, reference)
        print(f"{path}: {reference.count:,} pictures, {reference.accuracy:.2%} right, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
