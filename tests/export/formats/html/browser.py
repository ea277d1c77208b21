"""Chromium without a window, driven by the DevTools protocol through a pair of pipes."""

import base64
import json
import os
import subprocess
from pathlib import Path

KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    " ": 32,
    "Enter": 13,
    "Delete": 46,
    "Tab": 9,
}
SHIFT = 8


class Browser:
    """One page in a browser.

    Attributes:
      requests: addresses that the page asked for, itself first.
      messages: errors of scripts, and what a policy forbade.
    """

    def __init__(self, profile: Path):
        to_browser, self._commands = os.pipe()
        self._events, from_browser = os.pipe()
        # It reads from descriptor 3 and writes to 4.
        shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        flags += [f"--user-data-dir={profile}", "--no-first-run", "--disable-component-update"]
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "chromium", "chromium", *flags, "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._pending = b""
        self._count = 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.messages: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        (target,) = [t["targetId"] for t in targets if t["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params):
        """Calls a method of the protocol and returns its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _receive(self):
        while b"\0" not in self._pending:
            received = os.read(self._events, 1 << 20)
            assert received, "the browser ended"
            self._pending += received
        message, self._pending = self._pending.split(b"\0", 1)
        event = json.loads(message)
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.messages.append(json.dumps(params["exceptionDetails"]))
            case "Log.entryAdded":
                self.messages.append(params["entry"]["text"])
        return event

    def open(self, path: Path):
        """Opens a file, and waits until its network is ready."""
        self.requests.clear()
        self.messages.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.run(
            "new Promise((done) => addEventListener('load', done, {once: true}) || "
            "(document.readyState === 'complete' && done()))"
        )
        self.run("ready")
        self.settle()

    def run(self, expression: str):
        """Evaluates JavaScript, awaits it if it is a promise, and returns its value."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def settle(self):
        """Waits until the page has shown what it computes."""
        self.run("new Promise((d) => requestAnimationFrame(() => requestAnimationFrame(d)))")

    def press(self, *keys: str, shift: bool = False):
        """Presses keys one after another."""
        for key in keys:
            text = {" ": " ", "Enter": "\r"}.get(key)
            about = {
                "key": key,
                "windowsVirtualKeyCode": KEYS[key],
                "modifiers": SHIFT if shift else 0,
            }
            self.call(
                "Input.dispatchKeyEvent",
                type="keyDown",
                **about,
                **({"text": text} if text else {}),
            )
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)
        self.settle()

    def drag(self, points: list[tuple[float, float]]):
        """Moves a pressed mouse along points, in CSS pixels of the window."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1)]
        for kind, (x, y) in zip(kinds, points, strict=True):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                buttons=1,
                clickCount=1,
            )
        x, y = points[-1]
        self.call(
            "Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1
        )
        self.settle()

    def resize(self, width: int, height: int, scale: float = 1, mobile: bool = False):
        """Sets the window's size in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=mobile,
        )
        self.settle()

    def prefer(self, **features: str):
        """Sets what the user prefers: ``prefers_color_scheme="dark"``, for example."""
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": k.replace("_", "-"), "value": v} for k, v in features.items()],
        )
        self.settle()

    def screenshot(self, whole: bool = False) -> bytes:
        """Returns a PNG file of the window, or of the whole page."""
        taken = self.call(
            "Page.captureScreenshot",
            captureBeyondViewport=whole,
            **({"clip": self._whole()} if whole else {}),
        )
        return base64.b64decode(taken["data"])

    def _whole(self):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def close(self):
        """Ends the browser."""
        self._session = None
        self.call("Browser.close")
        self._process.wait(30)
        os.close(self._commands)
        os.close(self._events)
