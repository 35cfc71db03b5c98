# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Connections that end at a deadline and that never deliver more bytes than were asked for.

A socket's own timeout begins anew with every byte, so a server that sends one a second would be
listened to forever. Here each wait gets only what is left of the whole.
"""

from __future__ import annotations

import io
import socket
import ssl
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils import _health

CHUNK = 65_536


def dial(host: str, port: int, deadline: _health.Deadline) -> socket.socket:
    """A TCP connection to the first address of the host that takes it."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    deadline.stage(f"looking up {host}", f"resolvectl query {host}; /etc/resolv.conf; /etc/hosts")
    # Cannot be interrupted; examine() leaves the thread behind when this hangs.
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    deadline.stage(
        f"connecting to {where}", f"is it running, does a firewall drop: ss -ltn, {where}"
    )
    trouble: OSError = OSError("no address")
    for family, kind, protocol, _name, address in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(deadline.remaining())
            connection.connect(address)
        except TimeoutError:
            connection.close()
            raise
        except OSError as error:
            connection.close()
            trouble = error
        else:
            return connection
    raise trouble


def dial_unix(path: str, deadline: _health.Deadline) -> socket.socket:
    """A connection to a Unix socket; one that is missing is a service that does not run."""
    deadline.stage(f"connecting to {path}", f"is it running: ss -lx src {path}")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(deadline.remaining())
        connection.connect(path)
    except FileNotFoundError:
        connection.close()
        raise _health.Unhealthy(f"{path} is not there") from None
    except OSError:
        connection.close()
        raise
    return connection


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Verifies chain and name; `ca_file` is trusted besides the machine's own authorities."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # From 3.13 on, Python refuses by default what browsers and older Pythons accept.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise _health.CannotCheck(
                f"{ca_file} cannot be read as certificates ({error.strerror or error})",
                "give the PEM file of the authority",
            ) from error
        # A certificate may itself be the anchor, so that a private authority need not be at hand.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def secure(
    connection: socket.socket, context: ssl.SSLContext, name: str, deadline: _health.Deadline
) -> ssl.SSLSocket:
    """TLS on the connection, which is closed if that fails."""
    advice = "openssl s_client -connect <address> -servername " + name
    deadline.stage(f"TLS handshake as {name}", advice)
    try:
        connection.settimeout(deadline.remaining())
        return context.wrap_socket(connection, server_hostname=name)
    except BaseException:
        connection.close()
        raise


class Channel(io.RawIOBase):
    """The raw side of a connection: every wait ends at the deadline, all bytes together at `limit`.

    To be wrapped by io.BufferedReader, or handed to http.client as if it were a socket.
    """

    def __init__(self, connection: socket.socket, deadline: _health.Deadline, limit: int) -> None:
        super().__init__()
        self.received = 0
        self._connection, self._deadline, self._limit = connection, deadline, limit

    def readable(self) -> bool:
        return True

    def allow(self, more: int) -> None:
        """Raise the limit to so many bytes from here."""
        self._limit = self.received + more

    def until(self, deadline: _health.Deadline) -> None:
        """Wait no longer than to another deadline."""
        self._deadline = deadline

    def readinto(self, buffer: t.Any) -> int:
        view = memoryview(buffer)
        room = min(len(view), self._limit - self.received)
        if room <= 0 < len(view):
            raise _health.Unhealthy(f"{self._deadline.doing}: more than {self._limit} bytes")
        self._connection.settimeout(self._deadline.remaining())
        count = self._connection.recv_into(view, room)
        self.received += count
        return count

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._connection.settimeout(self._deadline.remaining())
            view = view[self._connection.send(view) :]

    def makefile(self, mode: str, *_rest: t.Any, **_more: t.Any) -> io.BufferedReader:
        """What http.client.HTTPResponse asks a socket for."""
        return io.BufferedReader(self, CHUNK)

    def close(self) -> None:
        if not self.closed:
            self._connection.close()
        super().close()
