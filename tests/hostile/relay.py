"""A line between two nodes that flips a bit now and then, as bad cables and bad memory in routers do."""

import select
import socket
import threading
from types import TracebackType
from typing import Final, Self


class Relay:
    """Passes connections on to a port of this host. In what goes to the dialler it flips one bit each `every` bytes,
    `flips` times in all, then never again.
    """

    def __init__(self, port: int, every: int, flips: int) -> None:
        self._to: Final = port
        self._every: Final = every
        self._flips: Final = flips
        self._count = 0
        self.flipped = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: Final = int(self._listening.getsockname()[1])
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _start(self, what: object, *args: object) -> None:
        thread = threading.Thread(target=what, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            if select.select([self._listening], [], [], 0.1)[0]:
                sock, _ = self._listening.accept()
                self._start(self._carry, sock)

    def _carry(self, dialler: socket.socket) -> None:
        try:
            with dialler, socket.create_connection(("127.0.0.1", self._to)) as other:
                while not self._ended.is_set():
                    for sock in select.select([dialler, other], [], [], 0.1)[0]:
                        data = sock.recv(65536)
                        if not data:
                            return
                        if sock is other:
                            dialler.sendall(self._spoil(data))
                        else:
                            other.sendall(data)
        except OSError:
            return  # one of the two hung up

    def _spoil(self, data: bytes) -> bytes:
        self._count += len(data)
        if self._count < self._every or self.flipped == self._flips:
            return data
        self._count = 0
        self.flipped += 1
        spoilt = bytearray(data)
        spoilt[len(spoilt) // 2] ^= 0x10
        return bytes(spoilt)
