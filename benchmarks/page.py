"""How long the page "Try it" takes for a frame and for a file, next to Python's `decompress`, in one run; and without
WebAssembly, as in a browser that has none.

    make book && python benchmarks/page.py

The page is opened from its file in headless Chromium, its models loaded before the clock starts. Each time is the
least of several.
"""

import shutil
import time
from pathlib import Path

import torch
from playwright.sync_api import Page, sync_playwright

import arlib
from arlib import data

ROOT = Path(__file__).resolve().parent.parent
TIMES = 5


# Clicks, and waits for words in the page's news, by the page's own clock: what drives the browser takes time as well.
CLICK = """(button, words) => new Promise((done) => {
  const news = document.querySelector(".try-status");
  news.textContent = "";
  const started = performance.now();
  new MutationObserver((_, observer) => {
    if (!news.textContent.includes(words)) return;
    observer.disconnect();
    done((performance.now() - started) / 1000);
  }).observe(news, { childList: true, characterData: true, subtree: true });
  button.click();
})"""


def in_page(page: Page, button: str, words: str) -> float:
    """Seconds from a click until the page says that it is done."""
    return float(page.get_by_role("button", name=button).first.evaluate(CLICK, words))


def page_seconds(webassembly: bool = True) -> tuple[float, float]:
    """Seconds for a frame to its file, and for the file to its picture, in a Chromium of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((ROOT / "_build" / "html" / "book" / "try.html").as_uri())
        if not webassembly:  # the page makes its worker of this text
            page.evaluate("TRY.source = 'delete globalThis.WebAssembly;' + TRY.source")
        in_page(page, "frame 1 of", "Compressing: done")
        compressing = min(in_page(page, "Compress it", "Compressing: done") for _ in range(TIMES))
        decoding = min(in_page(page, "Decode the file from above", "Decoding: done") for _ in range(TIMES))
        browser.close()
    return compressing, decoding


def main() -> None:
    torch.set_num_threads(1)
    codec = arlib.load_codec("book")
    file = codec.compress(data.load("supertuxkart", "valid")[230])
    compressing, decoding = page_seconds()
    slow_compressing, slow_decoding = page_seconds(webassembly=False)
    python = []
    for _ in range(TIMES):
        started = time.perf_counter()
        codec.decompress(file)
        python.append(time.perf_counter() - started)
    print(f"page: a frame to its file {compressing:.2f} s, a file to its picture {decoding:.2f} s")
    print(
        f"without WebAssembly: {slow_compressing:.2f} s and {slow_decoding:.2f} s, "
        f"{slow_compressing / compressing:.2f} and {slow_decoding / decoding:.2f} times as long"
    )
    print(
        f"Python: a file to its picture {min(python):.2f} s; the page takes {decoding / min(python):.2f} times as long"
    )


if __name__ == "__main__":
    main()
