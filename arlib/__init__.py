"""The library of *Pixels, Tokens, Bytes*: pictures become tokens, a transformer learns them, and they become bytes."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arlib import (
        causality,
        checkpoints,
        codec,
        compiled,
        container,
        data,
        dial,
        fixedpoint,
        judges,
        metrics,
        mismatch,
        orders,
        patches,
        quantizers,
        rangecoder,
        rate,
        realism,
        sampling,
        scales,
        sharp,
        tokenizer,
        tokenset,
        transformer,
    )
    from arlib._trained import (
        compress,
        decompress,
        load_autoencoder,
        load_codec,
        load_decoder,
        load_judge,
        load_pipeline,
        load_prior,
        load_tokenizer,
    )
    from arlib.codec import Codec
    from arlib.judges import Judge
    from arlib.sharp import SharpDecoder
    from arlib.tokenizer import ImageTokenizer
    from arlib.transformer import Prior
else:
    MODULES = {"Codec": "codec", "Judge": "judges", "SharpDecoder": "sharp"}  # of the names that are not modules
    MODULES |= {"ImageTokenizer": "tokenizer", "Prior": "transformer"}
    FUNCTIONS = ("compress", "decompress", "load_")

    def __getattr__(name: str) -> object:
        """A name of `__all__`, imported when it's first used: torch takes seconds, and not every command needs it."""
        if name not in __all__:
            raise AttributeError(f"module 'arlib' has no attribute {name!r}")
        home = "_trained" if name.startswith(FUNCTIONS) else MODULES.get(name, name)
        module = import_module(f"arlib.{home}")
        found = module if home == name else getattr(module, name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Codec",
    "ImageTokenizer",
    "Judge",
    "Prior",
    "SharpDecoder",
    "causality",
    "checkpoints",
    "codec",
    "compiled",
    "compress",
    "container",
    "data",
    "decompress",
    "dial",
    "fixedpoint",
    "judges",
    "load_autoencoder",
    "load_codec",
    "load_decoder",
    "load_judge",
    "load_pipeline",
    "load_prior",
    "load_tokenizer",
    "metrics",
    "mismatch",
    "orders",
    "patches",
    "quantizers",
    "rangecoder",
    "rate",
    "realism",
    "sampling",
    "scales",
    "sharp",
    "tokenizer",
    "tokenset",
    "transformer",
]
