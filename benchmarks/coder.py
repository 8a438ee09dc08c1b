"""Our range coder beside constriction's, on the same tables: bits over the ideal, and symbols per second.

    python benchmarks/coder.py [--streams 20] [--symbols 600] [--vocabulary 1024]

Every symbol of every stream has a random table of 2^24 counts of its own, as from a prior. constriction gets the
probabilities frequency / 2^24 and finds the same frequencies in them (`perfect=True`; tests/test_rangecoder.py makes
sure), so the ideal is the same for both: the sum of -log2(frequency / 2^24).

Symbols per second are measured on one thread, the best of several runs, once with all tables made before (ours are
cumulative frequencies, theirs are models), and once with the tables made as they are needed. There constriction
gets its faster `perfect=False`, whose tables are not quite the same.
"""

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from constriction import stream

from arlib.rangecoder import MAX_TOTAL, Decoder, Encoder, cumulate, decode, encode, frequencies


def random_stream(length: int, vocabulary: int, generator: torch.Generator) -> tuple[list[int], np.ndarray]:
    """T symbols and the frequencies `(T, V) int64` they were drawn from: about 7 bits a symbol for V = 1,024."""
    weights = (2 * torch.randn(length, vocabulary, generator=generator)).exp().mul(2**20).long()
    tables = frequencies(weights)
    return torch.multinomial(tables.double(), 1, generator=generator)[:, 0].tolist(), tables.numpy()


def best_seconds(work: Callable[[], object], runs: int = 7) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


class Ours:
    """With the tables at hand. `models` are cumulative frequencies `(T, V + 1)`."""

    name = "arlib"

    @staticmethod
    def models(tables: np.ndarray) -> np.ndarray:
        return cumulate(tables)

    @staticmethod
    def encode(symbols: list[int], models: np.ndarray) -> bytes:
        encoder = Encoder()
        for symbol, cumulative in zip(symbols, models, strict=True):
            encoder.encode(symbol, cumulative)
        return encoder.finish()

    @staticmethod
    def decode(payload: bytes, models: np.ndarray) -> list[int]:
        decoder = Decoder(payload)
        return [decoder.decode(cumulative) for cumulative in models]


class Theirs:
    """With the tables at hand. `models` are T of constriction's."""

    name = "constriction"

    @staticmethod
    def models(tables: np.ndarray) -> list[stream.model.Categorical]:
        return [stream.model.Categorical(table / MAX_TOTAL, perfect=True) for table in tables]

    @staticmethod
    def encode(symbols: list[int], models: list[stream.model.Categorical]) -> bytes:
        encoder = stream.queue.RangeEncoder()
        for symbol, model in zip(symbols, models, strict=True):
            encoder.encode(symbol, model)
        return encoder.get_compressed().tobytes()

    @staticmethod
    def decode(payload: bytes, models: list[stream.model.Categorical]) -> list[int]:
        decoder = stream.queue.RangeDecoder(np.frombuffer(payload, dtype=np.uint32))
        return [decoder.decode(model) for model in models]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--symbols", type=int, default=600)
    parser.add_argument("--vocabulary", type=int, default=1024)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)

    ideal = []
    over: dict[str, list[float]] = {Ours.name: [], Theirs.name: []}
    rates: dict[tuple[str, str], tuple[float, float]] = {}
    for _ in range(arguments.streams):
        symbols, tables = random_stream(arguments.symbols, arguments.vocabulary, generator)
        ideal.append(-math.fsum(np.log2(tables[np.arange(len(symbols)), symbols] / MAX_TOTAL)))
        for coder in (Ours, Theirs):
            models: Any = coder.models(tables)
            payload = coder.encode(symbols, models)
            assert coder.decode(payload, models) == symbols
            over[coder.name].append(8 * len(payload) - ideal[-1])
            rates[coder.name, "at hand"] = (  # the last stream's are kept
                len(symbols) / best_seconds(lambda c=coder, m=models, s=symbols: c.encode(s, m)),  # type: ignore[misc]
                len(symbols) / best_seconds(lambda c=coder, m=models, p=payload: c.decode(p, m)),  # type: ignore[misc]
            )

    payload = encode(symbols, tables)
    assert decode(payload, tables) == symbols
    rates[Ours.name, "made"] = (
        len(symbols) / best_seconds(lambda: encode(symbols, tables)),
        len(symbols) / best_seconds(lambda: decode(payload, tables)),
    )
    family, array, probabilities = (
        stream.model.Categorical(perfect=False),
        np.array(symbols, dtype=np.int32),
        tables / MAX_TOTAL,
    )

    def encode_theirs() -> np.ndarray:
        encoder = stream.queue.RangeEncoder()
        encoder.encode(array, family, probabilities)
        return encoder.get_compressed()

    words = encode_theirs()
    rates[Theirs.name, "made"] = (
        len(symbols) / best_seconds(encode_theirs),
        len(symbols) / best_seconds(lambda: stream.queue.RangeDecoder(words).decode(family, probabilities)),
    )

    print(f"{len(ideal)} streams of {arguments.symbols} symbols of {arguments.vocabulary},", end=" ")
    print(f"ideally {np.mean(ideal):.1f} bits each\n")
    print("bits over the ideal       mean   worst   share of the ideal")
    for name, bits in over.items():
        print(f"{name:22} {np.mean(bits):7.2f} {max(bits):7.2f} {np.sum(bits) / np.sum(ideal):20.3%}")
    ratios = [np.mean(over[Ours.name]) / np.mean(over[Theirs.name]), max(over[Ours.name]) / max(over[Theirs.name])]
    print(f"{'arlib / constriction':22} {ratios[0]:7.2f} {ratios[1]:7.2f}\n")
    for tables_are in ("at hand", "made"):
        print(f"{f'tables {tables_are}':22} {'encode':>12} {'decode':>12}   symbols per second")
        for name in over:
            encoding, decoding = rates[name, tables_are]
            print(f"{name:22} {encoding:12,.0f} {decoding:12,.0f}")
        ratios = [rates[Ours.name, tables_are][i] / rates[Theirs.name, tables_are][i] for i in (0, 1)]
        print(f"{'arlib / constriction':22} {ratios[0]:12.3f} {ratios[1]:12.3f}\n")


if __name__ == "__main__":
    main()
