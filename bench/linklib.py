"""The simulated link of bench/link: two network namespaces, linksim between them, a docker-registry behind it.

Everything hangs on linksim: it ends with the pipe to this process, and takes namespaces, addresses and devices with
it. The processes started here are told to die with us, so that nothing stays behind however a run ends.
"""
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time

CLIENT, SERVER, DEAD = "10.99.0.1", "10.99.0.2", "10.99.0.9"  # nobody has the last one
PORT = 5000


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Link:
    """Started, it is a link of 20 ms and 100 Mbit/s."""

    def __init__(self, source, work):
        tool = f"{work}/linksim"
        subprocess.run(["cc", "-O2", "-std=gnu17", "-Wall", "-o", tool, source], check=True)
        self.sim = subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        words = self.sim.stdout.readline().split()
        if len(words) != 4:
            raise SystemExit("bench/link: the simulator did not start: it needs root and /dev/net/tun")
        self.pids = {words[0]: words[1], words[2]: words[3]}
        for side, address in (("client", CLIENT), ("server", SERVER)):
            self.run(side, "ip", "address", "add", f"{address}/24", "dev", "link")
            self.run(side, "ip", "link", "set", "lo", "up")
            self.run(side, "ip", "link", "set", "dev", "link", "txqueuelen", "10000", "up")
            # No round remembers what the one before learned of the link. Congestion control is this machine's.
            self.run(side, "sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1")

    def close(self):
        self.sim.stdin.close()
        self.sim.wait()

    # -- processes on either side

    def on(self, side, *cmd):
        return ["nsenter", "-t", self.pids[side], "-n", "--", *cmd]

    def run(self, side, *cmd, **kw):
        return subprocess.run(self.on(side, *cmd), check=True, capture_output=True, **kw)

    def start(self, side, *cmd, **kw):
        return subprocess.Popen(self.on(side, *cmd), preexec_fn=die_with_parent, stdout=kw.pop("stdout", subprocess.DEVNULL),
                                stderr=subprocess.DEVNULL, **kw)

    # -- the simulator

    def ask(self, command):
        self.sim.stdin.write(command + "\n")
        return self.sim.stdout.readline().split()

    def set(self, rtt_ms, mbit):
        self.ask(f"set {int(rtt_ms * 1000)} {int(mbit * 1e6)}")
        self.rtt_ms, self.mbit = rtt_ms, mbit

    def reset(self):
        self.ask("reset")

    def totals(self):
        """Bytes to the client and from it, connections, drops: since the last reset."""
        return dict(zip(("down", "up", "connections", "dropped"), map(int, self.ask("totals")[1:])))

    def requests(self):
        """What passed since the last reset: dicts with times in ms."""
        out = []
        words = self.ask("requests")
        while words != ["end"]:
            out.append({"ms": int(words[0]) / 1000, "port": int(words[1]), "method": words[2], "path": words[3],
                        "range": words[4], "first_ms": int(words[5]) / 1000, "last_ms": int(words[6]) / 1000,
                        "bytes": int(words[7])})
            words = self.sim.stdout.readline().split()
        return out


@contextlib.contextmanager
def registry(link, root, port=PORT, proxy_of=None):
    """A docker-registry on the server's side, for both of its addresses; with proxy_of it is a pull-through cache."""
    os.makedirs(root, exist_ok=True)
    config = {"version": "0.1", "log": {"level": "error", "accesslog": {"disabled": True}},
              "storage": {"filesystem": {"rootdirectory": f"{root}/data"}}, "http": {"addr": f"0.0.0.0:{port}"}}
    if proxy_of:
        config["proxy"] = {"remoteurl": proxy_of}
    with open(f"{root}/config.yml", "w", encoding="ascii") as f:
        json.dump(config, f)
    # docker-registry takes every REGISTRY_... of the environment as configuration.
    env = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")}
    server = link.start("server", "docker-registry", "serve", f"{root}/config.yml", env=env)
    try:
        wait_answer(link, "server", f"http://127.0.0.1:{port}/v2/")
        yield f"{SERVER}:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def wait_answer(link, side, url):
    for _ in range(200):
        if subprocess.run(link.on(side, "curl", "-sf", "-o", "/dev/null", url), check=False).returncode == 0:
            return
        time.sleep(0.05)
    raise SystemExit(f"bench/link: {url} does not answer")
