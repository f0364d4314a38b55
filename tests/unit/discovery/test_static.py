"""Listed peers: what an operator may write, and what it is told when it is wrong."""

import socket
import time

import anyio
import pytest

from dfedge.core.errors import UsageError
from dfedge.discovery.static import Peer, parse, resolve

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("192.0.2.7", Peer("192.0.2.7", 7411)),
        (" 192.0.2.7:80 ", Peer("192.0.2.7", 80)),
        ("kiosk-07.lan:7412", Peer("kiosk-07.lan", 7412)),
        ("gw_1", Peer("gw_1", 7411)),
        ("[fe80::1%eth0]:7411", Peer("fe80::1%eth0", 7411)),
        ("[2001:DB8::1]", Peer("2001:db8::1", 7411)),
        ("2001:db8::1", Peer("2001:db8::1", 7411)),
        ("fe80::1%eth0.10", Peer("fe80::1%eth0.10", 7411)),
    ],
)
async def test_a_peer_can_be_listed_as_people_write_addresses(text: str, peer: Peer) -> None:
    assert parse(text) == peer
    assert parse(str(peer)) == peer


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a host"),
        ("host:", "the port"),
        ("host:0", "the port"),
        ("host:65536", "the port"),
        ("host:x", "the port"),
        ("[::1", "not an IPv6 address"),
        ("[host]:1", "not a host"),
        ("192.0.2.256", "not an IPv4 address"),
        ("a b", "not a host"),
        ("http://host", "the port"),
        ("-x", "not a host"),
        ("fe80::1", r"needs its interface, as in \"\[fe80::1%eth0\]:7411\""),
    ],
)
async def test_a_wrong_peer_is_refused_with_an_example(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse(text)


async def test_addresses_need_no_resolver() -> None:
    assert await resolve(Peer("fe80::1%eth0")) == ("fe80::1%eth0",)
    assert await resolve(Peer("192.0.2.7")) == ("192.0.2.7",)


async def test_a_name_is_resolved_and_one_without_addresses_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(host: str, port: int, **_: object) -> list[tuple[object, object, object, str, tuple[str, int]]]:
        if host == "nobody":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in ("192.0.2.1", "192.0.2.1", "2001:db8::1")]

    monkeypatch.setattr(anyio, "getaddrinfo", lookup)
    assert await resolve(Peer("gw")) == ("192.0.2.1", "2001:db8::1")
    assert await resolve(Peer("nobody")) == ()


async def test_a_dead_resolver_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(*_: object, **__: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(anyio, "getaddrinfo", lookup)
    began = time.monotonic()
    assert await resolve(Peer("slow"), timeout=0.05) == ()
    assert time.monotonic() - began < 2.0
