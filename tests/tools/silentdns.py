"""Runs a command in a network of its own whose only name server takes questions and says nothing, and ends with its exit
code; "asked" goes to stdout when it was asked. As root: python3 silentdns.py DIRECTORY COMMAND ARG..."""
import os
import socket
import subprocess
import sys


def main(directory, *command):
    if os.environ.pop("SILENTDNS", None) != "inside":
        os.execvpe("unshare", ["unshare", "-m", "-n", sys.executable, __file__, directory, *command],
                   {**os.environ, "SILENTDNS": "inside"})
    conf = f"{directory}/resolv.conf"
    with open(conf, "w", encoding="ascii") as f:
        f.write("nameserver 127.0.0.1\n")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "--bind", conf, "/etc/resolv.conf"], check=True)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    code = subprocess.call(command)
    server.setblocking(False)
    try:
        server.recv(2000)
        print("asked")
    except BlockingIOError:
        pass
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
