"""Sticks: what is exported at one site is taken in at another, or served there in place, with no network between."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lab
import pytest
from disk import memory_disk
from fleet import Board, Fleet, free_port, until

pytestmark = pytest.mark.timeout(180)
MIB = 1024 * 1024


@contextmanager
def two_sites(folder: Path, count: int, lan: "lab.Lan | None" = None) -> Iterator[tuple[Board, list[Board]]]:
    """A publisher without a network, and boards that never hear of it."""
    fleet = Fleet(folder, lan)
    try:
        boards = [fleet.board() for _ in range(count)]
        publisher = Board(fleet, "publisher", free_port(), None, 0)
        shutil.copytree(boards[-1].state, publisher.state)  # the same credentials do: the two never meet
        yield publisher, boards
    finally:
        fleet.stop()


def _published(publisher: Board, folder: Path, mib: int = 4, name: str = "image") -> bytes:
    data = os.urandom(mib * MIB)
    (folder / name).write_bytes(data)
    publisher.ask("publish", str(folder / name), "--name", name, "--version", "1")
    return data


def test_an_exported_image_comes_out_the_same_at_a_node_that_never_met_its_publisher(tmp_path: Path) -> None:
    with two_sites(tmp_path, 1) as (publisher, [board]):
        data = _published(publisher, tmp_path)
        stick = tmp_path / "stick"
        stick.mkdir()
        program = tmp_path / "any.pyz"
        program.write_bytes(b"program")
        done = publisher.ask("export", "image:1", "-o", f"{stick}/", "--with-trust", "--with-dfedge", str(program))
        assert done["parts"] == 1 and done["bytes"] == (stick / "bundle.dfedge").stat().st_size
        assert {path.name for path in stick.iterdir()} == {"bundle.dfedge", "dfedge.pyz"}
        assert publisher.run("export", "image:1", "-o", f"{stick}/").returncode == 1  # it is there already
        seen = board.ask("import", str(stick), "--dry-run")
        assert seen["images"][0]["bytes_carried"] == len(data) and board.ask("ls")["images"] == []
        taken = board.ask("import", str(stick))
        assert taken["images"][0]["complete"] and (taken["revocation"], taken["root"]) == ("known", "known")
        board.ask("get", "image:1", "-o", str(tmp_path / "out"), "--timeout", "1s")
        assert (tmp_path / "out").read_bytes() == data
        again = board.ask("import", str(stick))
        assert again["images"][0]["bytes_reused"] == len(data)


def test_a_bundle_for_a_neighbour_leaves_out_what_it_has(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    try:
        publisher, board = fleet.board(), fleet.board()
        for each in (publisher, board):
            each.start()
        until(lambda: board.name in publisher.connected(), "the two to be connected")
        _published(publisher, tmp_path)
        _published(publisher, tmp_path, 1, "second")
        board.ask("get", "image:1")

        def bundle() -> int:
            words = ("image:1", "second:1", "--missing-for", board.name, "--force", "-o", str(tmp_path / "bundle"))
            return int(publisher.ask("export", *words)["bytes"])

        until(lambda: MIB <= bundle() < 2 * MIB, "the publisher to hear what the other has")
        stranger = publisher.run("export", "image:1", "--missing-for", "nobody", "-o", str(tmp_path / "other"))
        assert stranger.returncode == 1 and "nobody is not connected" in stranger.stderr
        assert not (tmp_path / "other").exists()
    finally:
        fleet.stop()


def test_a_bundle_of_several_parts_of_which_one_is_lost_is_used_up_to_there(tmp_path: Path) -> None:
    with two_sites(tmp_path, 1) as (publisher, [board]):
        _published(publisher, tmp_path, 80)
        stick = tmp_path / "bundle"
        done = publisher.ask("export", "image:1", "-o", str(stick), "--part-size", "33 MiB")
        assert done["parts"] == 3
        assert all(path.stat().st_size <= 33 * MIB for path in tmp_path.glob("bundle*"))
        (tmp_path / "bundle.003").rename(tmp_path / "lost")
        cut = board.run("import", str(stick))
        assert cut.returncode == 1 and "part 3 is missing; what came before it was used" in cut.stderr
        assert "try: dfedge get image:1" in cut.stderr
        (tmp_path / "lost").rename(tmp_path / "bundle.003")
        whole = board.ask("import", str(stick))
        assert whole["images"][0]["complete"] and 60 * MIB < whole["images"][0]["bytes_reused"] < 80 * MIB


def test_an_import_killed_in_the_middle_goes_on_from_what_was_proven(tmp_path: Path) -> None:
    with two_sites(tmp_path, 1) as (publisher, [board]):
        _published(publisher, tmp_path, 64)
        _published(publisher, tmp_path, 1, "second")
        publisher.ask("export", "image:1", "second:1", "-o", str(tmp_path / "bundle"))
        board.start()
        process = board.popen(["import", str(tmp_path / "bundle"), "--json"], -1, -1)
        partial = board.state / "partial"
        until(lambda: any(partial.iterdir()) or process.poll() is not None, "the import to have begun")
        board.stop(signal.SIGKILL)
        process.communicate(timeout=30)
        assert {image["name"] for image in board.ask("ls")["images"] if not image["complete"]} <= {"image"}
        assert all(image["complete"] for image in board.ask("import", str(tmp_path / "bundle"))["images"])
        assert board.ask("verify")["bad"] == 0


def test_a_revocation_list_comes_by_stick_where_no_network_brings_it(tmp_path: Path) -> None:
    with two_sites(tmp_path, 2) as (_, [board, other]):
        told = board.run("fleet", "revoke", other.name)
        assert f"dfedge import {board.fleet.operator / 'revocation'}" in told.stderr
        listing = str(board.fleet.operator / "revocation")
        assert board.ask("import", listing, "--dry-run")["revocation"] == "newer"
        assert board.ask("import", listing)["revocation"] == "newer"
        assert board.ask("import", listing)["revocation"] == "known"


def test_another_fleets_stick_and_spoilt_ones_are_refused_or_used_only_as_far_as_they_are_proven(
    tmp_path: Path,
) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    with two_sites(tmp_path / "ours", 1) as (publisher, [board]), two_sites(tmp_path / "theirs", 1) as (_, [stranger]):
        data = _published(publisher, tmp_path)
        bundle = tmp_path / "bundle"
        publisher.ask("export", "image:1", "-o", str(bundle), "--with-trust")
        refused = stranger.run("import", str(bundle))
        assert refused.returncode == 1 and "[untrusted]" in refused.stderr
        assert f"{bundle}: the bundle is of fleet" in refused.stderr
        assert stranger.ask("ls")["images"] == [] and not any((stranger.state / "partial").iterdir())
        link = tmp_path / "link"
        link.symlink_to(bundle)
        os.mkfifo(tmp_path / "pipe")
        for path in (link, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "nowhere"):
            assert board.run("import", str(path)).returncode == 1
        (tmp_path / "cut").write_bytes(bundle.read_bytes()[:10])
        assert (
            f"{tmp_path}/cut: part 1: ends before it begins [corrupt]" in board.run("import", f"{tmp_path}/cut").stderr
        )
        (tmp_path / "noise").write_bytes(os.urandom(1000))
        assert (
            "noise: is neither a bundle nor a revocation list [corrupt]"
            in board.run("import", str(tmp_path / "noise")).stderr
        )
        whole = bundle.read_bytes()
        at = whole.index(data[2 * MIB : 2 * MIB + 64])
        (tmp_path / "flipped").write_bytes(whole[:at] + b"\0" * 64 + whole[at + 64 :])
        done = board.run("import", str(tmp_path / "flipped"))
        assert done.returncode == 1 and "not complete" in done.stdout and ", 1 bad piece\n" in done.stdout
        assert board.ask("import", str(bundle))["images"][0]["complete"]


def test_a_stick_that_is_plugged_in_is_taken_in_by_itself_and_a_link_is_not_followed(tmp_path: Path) -> None:
    with two_sites(tmp_path, 1) as (publisher, [board]):
        _published(publisher, tmp_path, 1)
        _published(publisher, tmp_path, 1, "second")
        media = tmp_path / "media"
        for place in ("usb0", "usb1"):
            (media / place).mkdir(parents=True)
        board.settings["DFEDGE_IMPORT_WATCH"] = str(media)
        board.start()
        publisher.ask("export", "second:1", "-o", str(tmp_path / "elsewhere"))
        (media / "usb0" / "bundle.dfedge").symlink_to(tmp_path / "elsewhere")
        until(lambda: "is a link" in board.said, "the link to be refused")
        publisher.ask("export", "image:1", "-o", f"{media}/usb1/")
        until(lambda: any(image["complete"] for image in board.ask("ls")["images"]), "the stick to be taken in")
        assert [image["name"] for image in board.ask("ls")["images"]] == ["image"]


def test_a_full_disk_refuses_a_bundle_before_its_first_piece_and_a_full_stick_keeps_what_it_had(tmp_path: Path) -> None:
    with two_sites(tmp_path, 1) as (publisher, [board]):
        _published(publisher, tmp_path, 4)
        publisher.ask("export", "image:1", "-o", str(tmp_path / "bundle"))
        board.settings["DFEDGE_STORE_QUOTA"] = "2 MiB"
        refused = board.run("import", str(tmp_path / "bundle"))
        assert refused.returncode == 1 and "[no_space]" in refused.stderr
        assert board.ask("ls")["images"] == []
        with memory_disk(tmp_path / "stick", "size=2m") as stick:
            (stick / "bundle.dfedge").write_bytes(b"what was there")
            full = publisher.run("export", "image:1", "-o", f"{stick}/", "--force")
            assert full.returncode == 1 and "[no_space]" in full.stderr
            assert [path.name for path in stick.iterdir()] == ["bundle.dfedge"]
            assert (stick / "bundle.dfedge").read_bytes() == b"what was there"


def test_an_export_killed_in_the_middle_leaves_the_stick_as_it_was(tmp_path: Path) -> None:
    with two_sites(tmp_path, 1) as (publisher, [board]):
        _published(publisher, tmp_path, 64)
        stick = tmp_path / "stick"
        stick.mkdir()
        publisher.ask("export", "--with-trust", "-o", f"{stick}/")
        before = (stick / "bundle.dfedge").read_bytes()
        process = publisher.popen(["export", "image:1", "-o", f"{stick}/", "--force"], -1, -1)
        draft = stick / "bundle.dfedge.tmp"
        until(lambda: draft.exists() or process.poll() is not None, "the export to have begun")
        process.kill()
        process.communicate(timeout=30)
        if draft.exists():  # else it was quicker than we
            assert (stick / "bundle.dfedge").read_bytes() == before
        assert publisher.ask("export", "image:1", "-o", f"{stick}/", "--force")["parts"] == 1
        assert board.ask("import", str(stick))["images"][0]["complete"] and not draft.exists()


def test_a_stick_pulled_out_while_it_is_served_is_served_no_more(tmp_path: Path) -> None:
    with two_sites(tmp_path, 2) as (publisher, boards):
        _published(publisher, tmp_path, 8)
        bundle = tmp_path / "bundle"
        publisher.ask("export", "image:1", "-o", str(bundle))
        for board in boards:
            board.start()
        until(lambda: boards[1].connected() == {"node-0"}, "the two to be connected")
        serving = boards[0].popen(["import", str(bundle), "--in-place"], -1, -1)
        until(lambda: bool(boards[1].run("where", "image:1", "--json").returncode == 0), "the stick to be announced")
        os.truncate(bundle, 4 * MIB)  # what a lost stick gives: no bytes
        got = boards[1].run("get", "image:1", "--timeout", "2s")
        assert got.returncode == 1
        out, err = serving.communicate(timeout=30)
        assert serving.returncode == 1 and "served no more" in out, (out, err)
        (held,) = boards[1].ask("ls")["images"]
        assert not held["complete"] and boards[1].ask("verify")["bad"] == 0


@pytest.mark.netns
def test_one_stick_feeds_a_site_in_place_and_a_cut_one_as_far_as_it_goes(tmp_path: Path) -> None:
    with lab.Lan("stick", 5) as lan, two_sites(tmp_path, 5, lan) as (publisher, boards):
        data = _published(publisher, tmp_path, 8)
        stick = tmp_path / "stick"
        stick.mkdir()
        publisher.ask("export", "image:1", "-o", f"{stick}/")
        for board in boards:
            board.start()
        until(lambda: all(len(board.connected()) == 4 for board in boards), "all to be connected")
        whole = (stick / "bundle.dfedge").read_bytes()
        cut = tmp_path / "cut"
        cut.write_bytes(whole[: len(whole) * 6 // 10])
        assert boards[4].run("import", str(cut)).returncode == 1  # what it holds is used, the rest comes by the LAN
        assert boards[0].run("import", str(cut), "--in-place").returncode == 1
        serving = boards[0].popen(["import", str(stick), "--in-place", "--json"], -1, -1)
        gets = [board.popen(["get", "image:1", "--json", "--timeout", "30s"], -1, -1) for board in boards[1:]]
        for process in gets:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, (out[-500:], err[-500:])
        assert boards[0].ask("ls")["images"] == []
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=30)
        reused = boards[4].ask("get", "image:1", "-o", str(tmp_path / "out"))
        assert (tmp_path / "out").read_bytes() == data and reused["bytes_reused"] == len(data)
        until(
            lambda: all(row["name"] != "node-0" for row in boards[1].ask("where", "image:1")["nodes"]),
            "the pulled stick to be announced no more",
        )
