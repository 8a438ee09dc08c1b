"""Firefox, by the protocol that it speaks itself (WebDriver BiDi), as far as the tests of one page need it."""

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket

FIREFOX = next(filter(None, map(shutil.which, ["firefox-esr", "firefox"])), None)
PREFERENCES = {"remote.prefs.recommended": True, "browser.shell.checkDefaultBrowser": False}


class Tab:
    """A page in Firefox: `open(url)`, and `run(script)`, whose result it returns."""

    def __init__(self, socket: Any, patience: float):
        self.socket, self.patience, self.numbers = socket, patience, itertools.count(1)
        self._ask("session.new", {"capabilities": {}})
        self.context = self._ask("browsingContext.getTree", {})["contexts"][0]["context"]

    def _ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == number:
                if answer["type"] == "error":
                    raise RuntimeError(answer["message"])
                return answer["result"]

    def open(self, url: str) -> None:
        self._ask("browsingContext.navigate", {"context": self.context, "url": url, "wait": "complete"})

    def run(self, script: str) -> Any:
        """The value of an expression, as JSON carries it; a promise is awaited."""
        target = {"context": self.context}
        wrapped = f"Promise.resolve({script}).then((value) => JSON.stringify(value))"
        answer = self._ask("script.evaluate", {"expression": wrapped, "target": target, "awaitPromise": True})
        if answer["type"] == "exception":
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"].get("value") or "null")

    def wait(self, script: str) -> Any:
        """Until an expression is true."""
        end = time.monotonic() + self.patience
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"{script} has not come true"
            time.sleep(0.2)
        return value


@contextmanager
def firefox(profile: Path, patience: float, **preferences: bool) -> Iterator[Tab]:
    """A headless Firefox with a profile of its own. Skips where there is none, fails with REQUIRE_BROWSER=1."""
    if FIREFOX is None:
        reason = "there is no Firefox on this machine"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    settings = PREFERENCES | {name.replace("_", "."): value for name, value in preferences.items()}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in settings.items()]
    (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "WebDriver BiDi listening on" in line)
            address = line.split("listening on")[1].strip() + "/session"
            socket = websocket.create_connection(address, timeout=patience, suppress_origin=True)
            yield Tab(socket, patience)
            socket.close()
        finally:
            process.kill()
