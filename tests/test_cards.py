"""The page of the trained models shows every card, and its table says what the cards say."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "book" / "model-cards.md").read_text(encoding="utf-8")
CARDS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "data" / "weights").glob("*.md")}


def test_every_card_is_on_the_page_once() -> None:
    assert sorted(re.findall(r"{include} \.\./data/weights/(.*)\.md", PAGE)) == sorted(CARDS)


def test_the_table_says_what_the_cards_say() -> None:
    rows = re.findall(r"^\| \[(.*?)\]\(#\1\) \| .* \| ([\d,]+) \| ([\d.]+) (dB|bits per token) \|$", PAGE, re.M)
    assert sorted(name for name, *_ in rows) == sorted(CARDS)
    for name, parameters, figure, unit in rows:
        assert f"| parameters | {parameters}, stored" in CARDS[name]
        assert f"| valid {'PSNR' if unit == 'dB' else 'bits'} | {figure} " in CARDS[name]
