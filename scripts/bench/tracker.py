"""A BitTorrent tracker over HTTP (BEP 3, BEP 23) for one torrent: `PORT FILE`; FILE says who has come, a line each."""

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from bench.torrent import bencode


class Announce(BaseHTTPRequestHandler):
    """Answers every announce with all the peers known so far."""

    peers: dict[str, bytes]  # address -> address and port, as a compact answer has them
    heard: Path

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query, encoding="latin-1")
        address = self.client_address[0]
        self.peers[address] = socket.inet_aton(address) + int(asked["port"][0]).to_bytes(2, "big")
        with self.heard.open("a", encoding="ascii") as file:
            file.write(f"{address} {'seed' if asked.get('left') == ['0'] else 'leech'}\n")
        others = b"".join(peer for known, peer in self.peers.items() if known != address)
        body = bencode({"interval": 1, "min interval": 1, "peers": others})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(port: str, heard: str) -> None:
    Announce.peers, Announce.heard = {}, Path(heard)
    with ThreadingHTTPServer(("0.0.0.0", int(port)), Announce) as server:
        Announce.heard.touch()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
