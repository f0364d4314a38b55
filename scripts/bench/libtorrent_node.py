"""One libtorrent session: `tcp|utp TORRENT SAVE_FOLDER PORT PEER…`; a line on stdin lets it begin, its end ends it.

It says where it is by empty files in its current folder: `ready`, then `done`. It needs nothing but libtorrent.
"""

import sys
import time
from pathlib import Path
from typing import Any

import libtorrent  # type: ignore[import-not-found]  # only the environment of the benchmark has it

DIAL_S = 0.5  # between two looks at whom we are not connected with; a tracker would tell us as often at most
FLUSH_S = 60.0

_KIND = libtorrent.alert.category_t


def main(transport: str, torrent: str, save: str, port: str, *peers: str) -> None:
    session = libtorrent.session(
        {
            "listen_interfaces": f"0.0.0.0:{port}",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_incoming_tcp": transport == "tcp",
            "enable_outgoing_tcp": transport == "tcp",
            "enable_incoming_utp": transport == "utp",
            "enable_outgoing_utp": transport == "utp",
            "out_enc_policy": 2,  # plaintext
            "in_enc_policy": 2,
            "min_reconnect_time": 1,  # a peer that has not begun yet hangs up; the default is to come back in a minute
            "alert_mask": _KIND.status_notification | _KIND.error_notification | _KIND.storage_notification,
        }
    )
    Path("ready").touch()
    sys.stdin.readline()
    wanted = libtorrent.add_torrent_params()
    wanted.ti = libtorrent.torrent_info(torrent)
    wanted.save_path = save
    handle = session.add_torrent(wanted)
    next_dial = time.monotonic()
    while not handle.status().is_seeding:
        if time.monotonic() >= next_dial:
            connected = {peer.ip[0] for peer in handle.get_peer_info()}
            for peer in peers:
                if peer not in connected:
                    handle.connect_peer((peer, int(port)))
            next_dial += DIAL_S
        next_alerts(session, 0.1)
    handle.flush_cache()  # it counts blocks that it still holds back; nobody could read them yet
    deadline = time.monotonic() + FLUSH_S
    while not any(isinstance(one, libtorrent.cache_flushed_alert) for one in next_alerts(session, 0.1)):
        if time.monotonic() > deadline:
            sys.exit(f"libtorrent has not flushed its cache in {FLUSH_S:g} s")
    Path("done").touch()
    sys.stdin.read()


def next_alerts(session: Any, seconds: float) -> list[Any]:
    """What has happened, waiting at most that long for it; errors go to stderr."""
    session.wait_for_alert(int(seconds * 1000))
    alerts: list[Any] = session.pop_alerts()
    for alert in alerts:
        if alert.category() & _KIND.error_notification:
            print(alert.message(), file=sys.stderr, flush=True)
    return alerts


if __name__ == "__main__":
    main(*sys.argv[1:])
