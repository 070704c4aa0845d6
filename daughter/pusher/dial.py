"""Connects to a mother for ssh, with a socket that keeps no queue of its own, and hands it over.

    python dial.py HOST PORT TIMEOUT_S          as ssh's ProxyCommand, with ProxyUseFdpass

ssh fills whatever its socket takes: on a slow link megabytes, and an item of the high lane would
stand behind them for seconds. With TCP_NOTSENT_LOWAT (tcp(7)) the kernel takes only what it can
soon send, so that what waits, waits where the lanes are told apart. Says why there is no connection
in the words that ssh would use; they are for `trouble`. Imports nothing of ours, to start fast.
"""

from __future__ import annotations

import array
import socket
import sys

NOT_SENT_BYTES = 128 << 10
_TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; the socket module has no name for it


def main(host: str, port: str, timeout_s: str) -> int:
    """Pass a connection to who started us; the exit code."""
    try:
        connection = socket.create_connection((host, int(port)), float(timeout_s))
    except socket.gaierror as error:
        print(f"Could not resolve hostname: {error.strerror}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"connect to host: {error.strerror or 'Connection timed out'}", file=sys.stderr)
        return 1
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOT_SENT_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    rights = array.array("i", [connection.fileno()])
    with socket.socket(fileno=1) as ssh:
        ssh.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
