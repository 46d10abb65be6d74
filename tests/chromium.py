"""A headless Chromium, driven over its DevTools protocol: what a page does in a real browser."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
READY = "document.readyState === 'complete' && document.documentElement?.dataset.ready === 'yes'"
KEYS = {"Enter": 13, "Tab": 9, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    """One browser with one page: `with Browser() as browser`.

    All requests and console messages are kept, in `requests` and `messages`.
    """

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as started:  # closed at once if what follows fails
            self._start(started)
            self._stack = started.pop_all()
        self.size(width, height)

    def _start(self, stack: contextlib.ExitStack) -> None:
        self._profile = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
                   "--force-color-profile=srgb", "--remote-debugging-port=0",
                   f"--user-data-dir={self._profile}"]  # fmt: skip
        self._log = self._profile / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([str(PROGRAM), *options, "about:blank"], stdout=log, stderr=log)
        stack.callback(self._process.wait, timeout=20)
        stack.callback(self._process.terminate)
        self._socket = stack.enter_context(connect(self._address(), max_size=None, open_timeout=60))
        self._number, self._session = 0, None
        self.requests: list[str] = []
        self.messages: list[str] = []
        targets = self.command("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.command(f"{domain}.enable")

    def _address(self) -> str:
        """Where the browser listens: it writes that down when it is ready."""
        port = self._profile / "DevToolsActivePort"
        for _ in range(600):
            if port.exists() and len(lines := port.read_text().split("\n")) >= 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"{PROGRAM} did not start: {self._log.read_text()[-2000:]}")

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls the browser and waits for the answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event["method"] == "Runtime.consoleAPICalled":
            self.messages.append(json.dumps(params["args"]))
        elif event["method"] == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(params["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded":
            self.messages.append(json.dumps(params["entry"]))

    def open(self, path: Path) -> float:
        """Opens a file, and returns how many seconds it took until the page said that it is ready, and was drawn."""
        self.requests.clear()
        self.messages.clear()
        begin = time.perf_counter()
        self.command("Page.navigate", url=path.resolve().as_uri())
        self.wait(READY)
        self.drawn()
        return time.perf_counter() - begin

    def drawn(self) -> None:
        """Waits until what was asked is on the screen."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, script: str) -> Any:
        """Evaluates an expression in the page."""
        found = self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {json.dumps(found['exceptionDetails'])}")
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 20.0) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition} is still false after {seconds} s; the page said {self.messages}")
            time.sleep(0.01)

    def size(self, width: int, height: int) -> None:
        """Sets the size of the window's inside."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def scheme(self, name: str) -> None:
        """Sets what the page is told that its reader prefers: light or dark."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def key(self, name: str) -> None:
        """Presses a key."""
        about: dict[str, Any] = {"key": name, "code": "Space" if name == " " else name}
        about["windowsVirtualKeyCode"] = KEYS[name]
        text = {"Enter": "\r", " ": " "}.get(name, "")
        self.command("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.command("Input.dispatchKeyEvent", type="keyUp", **about)

    def drag(self, x: float, from_y: float, to_y: float) -> None:
        """Drags the pointer up or down."""
        mouse: dict[str, Any] = {"button": "left", "clickCount": 1}
        self.command("Input.dispatchMouseEvent", type="mousePressed", x=x, y=from_y, **mouse)
        for share in (0.25, 0.5, 0.75, 1.0):
            y = from_y + share * (to_y - from_y)
            self.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, buttons=1, **mouse)
        self.command("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=to_y, **mouse)
        self.drawn()

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Takes a screenshot, of the whole page or of the window."""
        found = self.command("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def no_browser() -> str:
    """Why there is no browser, or nothing; where CI runs it must be there."""
    if PROGRAM or os.environ.get("CI"):
        return ""
    return "no chromium on this machine: apt-get install chromium"
