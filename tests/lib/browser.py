"""A headless Chromium, driven through chromedriver by the WebDriver protocol: open a file, click, run a script."""
import contextlib
import json
import os
import subprocess
import urllib.request

from morseltest import free_port, need, port_open, wait_until

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--window-size=1200,900"]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference


class Browser:
    def __init__(self, port, session=""):
        self.base = f"http://127.0.0.1:{port}/session"
        self.session = session

    def call(self, path, **body):
        request = urllib.request.Request(f"{self.base}{self.session}{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self.call("/url", url=url)

    def run(self, script, *args):
        """What a function's body returns."""
        return self.call("/execute/sync", script=script, args=list(args))

    def click(self, selector):
        found = self.call("/element", using="css selector", value=selector)
        self.call(f"/element/{found[ELEMENT]}/click")

    def errors(self):
        return [entry["message"] for entry in self.call("/se/log", type="browser") if entry["level"] == "SEVERE"]


@contextlib.contextmanager
def browser(t):
    need("chromium", "chromedriver")
    port = free_port()
    home = t.path("browser")
    os.makedirs(home)
    with open(t.path("chromedriver.log"), "wb") as log:
        driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=log, stderr=log,
                                  env={**os.environ, "HOME": home, "TMPDIR": home, "XDG_CONFIG_HOME": home})
    b = Browser(port)
    try:
        wait_until("chromedriver listens", lambda: port_open(port), 30)
        options = {"args": [*FLAGS, f"--user-data-dir={home}/profile"], "binary": "/usr/bin/chromium"}
        b.session = "/" + b.call("", capabilities={"alwaysMatch": {
            "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}})["sessionId"]
        yield b
    finally:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(urllib.request.Request(f"{b.base}{b.session}", method="DELETE"), timeout=30).close()
        driver.terminate()
        driver.wait()
