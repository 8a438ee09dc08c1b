"""The Chromium that prints the book and that the tests open its pages in."""

import shutil

from playwright.sync_api import Browser, Playwright

PATIENCE = 300  # seconds; a busy machine may need more than the tools' own 30 and 60
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
# The last keeps a forgotten request from reaching a network where the machine has one.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


def launch(playwright: Playwright) -> Browser:
    """Start it, without a window."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE * 1000)
