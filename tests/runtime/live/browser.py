"""A headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

APT = "apt-get install chromium"


def find_chromium() -> str | None:
    """The browser's program, or None without one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Tab:
    """One page: commands go out, what the page complains about is kept in `complaints`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.complaints: list[str] = []
        self._connection, self._number = connection, 0
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a DevTools command and return its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=30))
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def open(self, address: str) -> None:
        """Go to an address."""
        self.command("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """What an expression in JavaScript is, as JSON carries it."""
        result = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str, within_s: float = 30.0) -> Any:
        """Wait until an expression is true; returns what it is."""
        deadline = time.monotonic() + within_s
        while not (value := self.value(expression)):
            assert time.monotonic() < deadline, f"never true: {expression}; {self.value('document.body.innerText')}"
            time.sleep(0.02)
        return value

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Give the page a screen of so many CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )

    def colours(self, scheme: str) -> None:
        """Prefer "dark" or "light"."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the `whole` page, as a PNG."""
        shot = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif message["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(parameters["args"]))
        elif message["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")


@contextmanager
def open_tab(program: str, folder: Path) -> Iterator[Tab]:
    """Start the browser with an empty profile in `folder`, and its one tab."""
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    log = (folder / "chromium.log").open("w")
    with (
        log,
        subprocess.Popen(
            [program, *arguments, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            port_file = folder / "DevToolsActivePort"
            deadline = time.monotonic() + 60
            while not (port_file.exists() and len(port_file.read_text().splitlines()) == 2):
                assert time.monotonic() < deadline, (folder / "chromium.log").read_text()
                time.sleep(0.02)
            port, path = port_file.read_text().splitlines()
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, open_timeout=30, ping_interval=None) as browser:
                target = _first_page(browser)
            with connect(
                f"ws://127.0.0.1:{port}/devtools/page/{target}", max_size=None, open_timeout=30, ping_interval=None
            ) as connection:
                yield Tab(connection)
        finally:
            process.kill()


def _first_page(browser: ClientConnection) -> str:
    browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
    while True:
        message = json.loads(browser.recv(timeout=30))
        if message.get("id") == 1:
            return next(one["targetId"] for one in message["result"]["targetInfos"] if one["type"] == "page")
