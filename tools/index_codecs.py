"""Write data/weights/codecs.json, by which a `.ptb` file finds its model: the hash of every shipped codec by its name.

`python tools/index_codecs.py`, after a prior has come to data/weights. Names are permanent, and so are the files that
were written with them: a hash that changes means that they can no longer be read, and is refused.
"""

import json
import sys

import arlib
from arlib import codec, data
from arlib.data import DataError
from arlib.fixedpoint import FixedPointError


def hashes() -> dict[str, str]:
    """The hash of each shipped prior's codec by name, without the priors that have no twin or cannot decode."""
    found = {}
    for path in sorted((data.root() / "weights").glob("prior-*.safetensors")):
        name = path.stem.removeprefix("prior-")
        try:
            found[name] = arlib.load_codec(name).hash
        except (DataError, FixedPointError) as error:
            print(f"{name} has no codec: {error}", file=sys.stderr)
    return found


def main() -> None:
    found, known = hashes(), codec.shipped()
    changed = [name for name in known if found.get(name) != known[name]]
    if changed:
        sys.exit(f"Files written with {', '.join(changed)} could no longer be read. Give the new model a new name.")
    path = data.root() / "weights" / "codecs.json"
    data.write_atomically(
        path, lambda partial: partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    )
    print(path)


if __name__ == "__main__":
    main()
