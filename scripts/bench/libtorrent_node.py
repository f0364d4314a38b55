"""One libtorrent session: `TORRENT SAVE_FOLDER PORT PEER…`; a line on stdin lets it begin, the end of stdin end it.

It says where it is by empty files in its current folder: `ready`, then `done`. It needs nothing but libtorrent.
"""

import sys
from pathlib import Path

import libtorrent  # type: ignore[import-not-found]  # only the environment of the benchmark has it


def main(torrent: str, save: str, port: str, *peers: str) -> None:
    session = libtorrent.session(
        {
            "listen_interfaces": f"0.0.0.0:{port}",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "out_enc_policy": 2,  # plaintext
            "in_enc_policy": 2,
            # Two nodes that dial each other at once may both hang up; the default is to try again after a minute.
            "min_reconnect_time": 1,
            "alert_mask": libtorrent.alert.category_t.status_notification
            | libtorrent.alert.category_t.error_notification,
        }
    )
    Path("ready").touch()
    sys.stdin.readline()
    wanted = libtorrent.add_torrent_params()
    wanted.ti = libtorrent.torrent_info(torrent)
    wanted.save_path = save
    handle = session.add_torrent(wanted)
    for peer in peers:
        handle.connect_peer((peer, int(port)))
    while not handle.status().is_seeding:
        session.wait_for_alert(200)
        for alert in session.pop_alerts():
            if alert.category() & libtorrent.alert.category_t.error_notification:
                print(alert.message(), file=sys.stderr, flush=True)
    Path("done").touch()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
