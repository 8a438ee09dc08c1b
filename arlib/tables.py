"""The tables of integers that an integer twin reads: exp and GELU, from decimal arithmetic (chapter 11)."""

import functools
from decimal import Context, Decimal, localcontext

UNIT = 14  # activations are in units of 2^-14
TABLE_UNIT = 10  # the step of the tables, and the unit of the logits
ATTENTION_BITS = 20  # the attention's table has 2^20 for exp(0)
CODING_BITS = 36  # the coder's has 2^36, as a probability of 2^-24 still counts there


@functools.cache
def tables() -> dict[str, tuple[int, ...]]:
    """The three tables of integers; entry n belongs to x = n / 1024, and the last entry, a 0, to all that follows.

    "attention" is exp(-x) in units of 2^-20, "coding" exp(-x) in units of 2^-36, and "gelu" the gap x · Φ(-x) between
    ReLU and GELU, in units of 2^-14. They are rounded from 40 decimal digits, and no entry comes closer than 10^-6 to
    where the rounding turns: another way to compute them gives the same integers.
    """
    # Python's decimal arithmetic is defined to the last digit, exp and roots too, and is the same on every machine.
    with localcontext(Context(prec=40)):
        step = Decimal(1) / (1 << TABLE_UNIT)
        gaps = [0, round(_gap(step))]
        while gaps[-1]:
            gaps.append(round(_gap(len(gaps) * step)))
        return {
            "attention": _exponentials(step, ATTENTION_BITS),
            "coding": _exponentials(step, CODING_BITS),
            "gelu": tuple(gaps),
        }


def _exponentials(step: Decimal, bits: int) -> tuple[int, ...]:
    power, ratio, entries = Decimal(1 << bits), (-step).exp(), [1 << bits]
    while entries[-1]:
        power *= ratio
        entries.append(round(power))
    return tuple(entries)


def _gap(x: Decimal) -> Decimal:
    """x · Φ(-x) in units of 2^-14, where Φ(x) = 1/2 + φ(x) · (x + x³/3 + x⁵/(3·5) + …), the normal distribution."""
    square = x * x
    term = total = x
    odd = 1
    while term > Decimal("1e-30"):
        odd += 2
        term *= square
        term /= odd
        total += term
    density = (-square / 2).exp() / (2 * Decimal("3.141592653589793238462643383279502884197169399")).sqrt()
    return (1 << UNIT) * x * (Decimal("0.5") - density * total)
