"""Settings that can't be meant: told with the numbers, before a node runs with them."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from dfedge.core.errors import UsageError
from dfedge.node.config import load
from dfedge.node.sense import doubts


def complaint(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> str:
    file = tmp_path / "dfedge.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(config_file=file, environ=environ or {})
    return str(caught.value).replace(str(tmp_path), "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[store]\nquota = 5\n",
            "/dfedge.toml:2: store.quota is wrong: 5 bytes hold no image; write a size with its unit, as \"10 GiB\"",
        ),
        ("[store]\nquota = 0\n", "/dfedge.toml:2: store.quota is wrong: 0 bytes hold no image"),
        (
            "[store]\nevict_from = 70\nevict_to = 80\n",
            "/dfedge.toml:3: store.evict_to is wrong: evict_from is 70 % (/dfedge.toml:2), evict_to 80 % "
            "(/dfedge.toml:3); eviction can't stop above where it starts",
        ),
        ("[store]\nevict_from = 70\n", "evict_from is 70 % (/dfedge.toml:2), evict_to 85 % (the default)"),
        ("[store]\nevict_to = 96\n", "store.evict_to is wrong"),
        ("[store]\nevict_to = 0\n", "store.evict_to is wrong: 0 is not a whole number from 1 to 100"),
        ("[store]\nevict_from = \"101 %\"\n", "store.evict_from is wrong: 101 is not a whole number from 1 to 100"),
        ("[store]\nevict_from = 0.9\n", "store.evict_from is wrong: 0.9 is not a whole number from 1 to 100"),
    ],
)  # fmt: skip
def test_a_number_that_makes_no_sense_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert said in complaint(tmp_path, text)


def test_variables_are_judged_with_the_file(tmp_path: Path) -> None:
    said = complaint(tmp_path, "[store]\nevict_to = 80\n", {"DFEDGE_STORE_EVICT_FROM": "75%"})
    assert "evict_from is 75 % (DFEDGE_STORE_EVICT_FROM), evict_to 80 % (/dfedge.toml:2)" in said
    assert "5 bytes hold no image" in complaint(tmp_path, "", {"DFEDGE_STORE_QUOTA": "5"})


def test_per_cent_may_be_written_with_the_sign(tmp_path: Path) -> None:
    file = tmp_path / "dfedge.toml"
    file.write_text('[store]\nevict_from = "90 %"\nevict_to = 70\n')
    store = load(config_file=file, environ={}).store
    assert (store.evict_from, store.evict_to) == (90, 70)


@pytest.mark.parametrize(
    ("quota", "keep_free", "said"),
    [
        ("6 GiB", "1 GiB", ""),
        ("8 GiB", "1 GiB", "store.quota is 8.0 GiB (DFEDGE_STORE_QUOTA), the disk of {state} has 8.0 GiB, of which "
         "1.0 GiB stay free: at most 7.0 GiB count"),
        ("1 GiB", "8 GiB", "store.keep_free is 8.0 GiB (DFEDGE_STORE_KEEP_FREE), the disk of {state} has 8.0 GiB: "
         "nothing can be stored"),
    ],
)  # fmt: skip
def test_what_the_disk_can_not_keep_is_told_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, keep_free: str, said: str
) -> None:
    (tmp_path / "dfedge.toml").touch()
    state = tmp_path / "not" / "there" / "yet"
    environ = {"DFEDGE_STORE_QUOTA": quota, "DFEDGE_STORE_KEEP_FREE": keep_free}
    config = load(state_dir=state, config_file=tmp_path / "dfedge.toml", environ=environ)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=2**21, f_frsize=4096))
    assert doubts(config) == ([said.format(state=state)] if said else [])
