"""A shorter way for data through asyncssh: from the socket to a channel's session and back.

asyncssh copies a packet about ten times on each way and makes some thirty calls; both show on a small board. Here a
data packet is decrypted where it was received, and its data handed on as it lies. Every other packet (keys, windows,
ends), and every packet while keys are exchanged, goes asyncssh's own way, byte for byte and in order: its counters and
windows are the only ones there are. This leans on names inside asyncssh; where one is missing nothing is shortened.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_CHANNEL_DATA

from dfedge.transfer.channel import Channel
from dfedge.transfer.seal import LENGTH, TAG, Seal, seal_of

SMALL: Final = 16 * 1024  # bytes of a quiet session's buffer
CALM: Final = 256  # small packets after which a large buffer is given back
OVERHEAD: Final = 10  # bytes of a data packet before its data: padding length, type, channel, length
FRESH: Final = 1.0  # seconds between two resets of the keepalive timer
_USED: Final = {  # what must be there, by asyncssh's class
    "connection": "_auth_complete _channels _inpbuf _kex_complete _max_recv_pktlen _recv_encryption _recv_handler "
    "_recv_pkthdr _recv_seq _rekey_bytes _rekey_bytes_sent _rekey_seconds _rekey_time _reset_keepalive_timer _send "
    "_send_blocksize _send_enchdrlen _send_encryption _send_seq _transport internal_error",
    "channel": "_accept_data _recv_chan _recv_paused _recv_state _recv_window _send_buf _send_chan _send_pktsize "
    "_send_state _send_window",
}


def _has_all(thing: object, kind: str) -> bool:
    return all(hasattr(thing, name) for name in _USED[kind].split())


def shorten(ssh: SSHConnection, channels: Sequence[Channel], blocked: Callable[[bool], None]) -> bool:
    """Take the short way from now on, for these channels; `blocked` hears when the socket is full, and when no more.

    False if this asyncssh is not as we know it, or the ciphers are not; then only `blocked` is seen to.
    """
    open_ones = [channel.ssh for channel in channels if channel.ssh is not None]
    known = _has_all(ssh, "connection") and all(_has_all(channel, "channel") for channel in open_ones)
    if not known or seal_of(ssh._recv_encryption) is None or not isinstance(ssh._transport, asyncio.Transport):
        ssh.pause_writing = lambda: blocked(True)  # type: ignore[method-assign]
        ssh.resume_writing = lambda: blocked(False)  # type: ignore[method-assign]
        return False
    shortcut = Shortcut(ssh, open_ones, blocked)
    ssh._transport.set_protocol(shortcut)
    for channel in channels:
        channel.sender = shortcut
    return True


class Shortcut(asyncio.BufferedProtocol):
    """Stands between the socket and asyncssh's connection."""

    def __init__(
        self, ssh: SSHConnection, channels: Sequence[SSHChannel[bytes]], blocked: Callable[[bool], None]
    ) -> None:
        self._ssh: Any = ssh
        self._channels: dict[int, Any] = {
            channel._recv_chan: channel for channel in channels if channel._recv_chan is not None
        }
        self._blocked = blocked
        self._memory = bytearray(SMALL)
        self._end = 0  # bytes received and not taken
        self._wanted = 0  # bytes of the packet that is coming; 0 while its length is not known
        self._small = 0  # small packets in a row
        self._reset_at = 0.0
        self._incoming: tuple[object, Seal | None] = (None, None)
        self._outgoing: tuple[object, Seal | None] = (None, None)

    # What the transport calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what comes."""
        del sizehint
        if self._wanted > len(self._memory):
            self._resize(2 * self._wanted)
        elif not self._end and self._small > CALM and len(self._memory) > SMALL:
            self._resize(SMALL)
        return memoryview(self._memory)[self._end :]

    def _resize(self, size: int) -> None:
        fresh = bytearray(size)
        fresh[: self._end] = memoryview(self._memory)[: self._end]
        self._memory = fresh

    def buffer_updated(self, nbytes: int) -> None:
        """Take the whole packets of what has come."""
        ssh = self._ssh
        self._end += nbytes
        now = asyncio.get_running_loop().time()
        if now - self._reset_at > FRESH:
            self._reset_at = now
            ssh._reset_keepalive_timer()
        try:
            with memoryview(self._memory) as view:
                taken = self._take(view)
                self._memory[: self._end - taken] = view[taken : self._end]
                self._end -= taken
        except Exception:  # as asyncssh itself does around its parser
            ssh.internal_error()

    def eof_received(self) -> None:
        self._ssh.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._memory = bytearray()  # half a MiB, and a session that is over stays until the collector comes by
        self._ssh.connection_lost(exc)

    def pause_writing(self) -> None:
        self._blocked(True)

    def resume_writing(self) -> None:
        self._blocked(False)

    # Packets in.

    def _take(self, view: memoryview) -> int:
        """Deal with whole packets; returns how many bytes they were."""
        ssh = self._ssh
        at, end = 0, self._end
        while at < end:
            if ssh._transport is None:
                return end  # closed meanwhile; what else came is nobody's
            seal = self._seal_in()
            if seal is None:
                ssh.data_received(bytes(view[at:end]))
                return end
            if not self._wanted:
                if end - at < LENGTH:
                    return at
                length = seal.length(ssh._recv_seq, view[at : at + LENGTH])
                if length > ssh._max_recv_pktlen:
                    ssh.data_received(bytes(view[at:end]))  # which refuses it
                    return end
                self._wanted = LENGTH + length + TAG
                self._small = self._small + 1 if self._wanted < SMALL else 0
            size = self._wanted
            if end - at < size:
                return at
            self._wanted = 0
            packet = view[at : at + size]
            if not self._take_data(seal, packet):
                ssh.data_received(bytes(packet))
            at += size
        return at

    def _seal_in(self) -> Seal | None:
        """The seal of what comes; None while asyncssh must see every byte."""
        ssh = self._ssh
        if ssh._inpbuf or ssh._recv_handler != ssh._recv_pkthdr or not ssh._auth_complete:
            return None
        if self._incoming[0] is not ssh._recv_encryption:
            self._incoming = (ssh._recv_encryption, seal_of(ssh._recv_encryption))
        return self._incoming[1]

    def _take_data(self, seal: Seal, packet: memoryview) -> bool:
        """Hand on a packet of data for a channel of ours; False for any other, which is left as it was."""
        ssh = self._ssh
        seq = ssh._recv_seq
        body = seal.open(seq, packet)
        if body is None or len(body) <= OVERHEAD or body[1] != MSG_CHANNEL_DATA:
            return False
        length = int.from_bytes(body[6:OVERHEAD], "big")
        channel = self._channels.get(int.from_bytes(body[2:6], "big"))
        if (
            channel is None
            or ssh._channels.get(channel._recv_chan) is not channel
            or channel._recv_state != "open"
            or channel._recv_paused
            or not 0 < length <= channel._recv_window
            or OVERHEAD + length + body[0] != len(body)
        ):
            return False
        seal.opened()
        ssh._recv_seq = (seq + 1) & 0xFFFFFFFF
        channel._accept_data(memoryview(body)[OVERHEAD : OVERHEAD + length])
        return True

    # Packets out.

    def send(self, channel: Any, parts: Sequence[bytes]) -> None:
        """Send data on a channel of ours, as one packet if it may go now; else asyncssh holds it until it may."""
        ssh = self._ssh
        length = sum(map(len, parts))
        seal = self._seal_out()
        if (
            seal is None
            or channel._send_buf
            or not 0 < length <= min(channel._send_window, channel._send_pktsize)
            or channel._send_state != "open"
        ):
            channel.writelines(parts)
            return
        block = ssh._send_blocksize
        padding = -(ssh._send_enchdrlen + OVERHEAD - 1 + length) % block
        padding += block if padding < 4 else 0
        head = bytes((padding, MSG_CHANNEL_DATA)) + channel._send_chan.to_bytes(4, "big") + length.to_bytes(4, "big")
        body = b"".join((head, *parts, os.urandom(padding)))
        channel._send_window -= length
        ssh._rekey_bytes_sent += len(body)
        sealed = seal.close(ssh._send_seq, body)
        ssh._send_seq = (ssh._send_seq + 1) & 0xFFFFFFFF
        ssh._send(sealed)

    def _seal_out(self) -> Seal | None:
        """The seal of what we send; None while keys are exchanged, or are due to be."""
        ssh = self._ssh
        if (
            not ssh._kex_complete
            or ssh._rekey_bytes_sent >= ssh._rekey_bytes
            or (ssh._rekey_seconds and asyncio.get_running_loop().time() >= ssh._rekey_time)
        ):
            return None
        if self._outgoing[0] is not ssh._send_encryption:
            self._outgoing = (ssh._send_encryption, seal_of(ssh._send_encryption))
        return self._outgoing[1]
