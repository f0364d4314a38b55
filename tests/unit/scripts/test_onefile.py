"""dfedge.pyz: what its bootstrap does on a node, tried with small files that hold a dfedge of three lines."""

import ast
import fcntl
import importlib.util
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from onefile import lock, pack
from onefile.boot import place
from onefile.boot.build import GLIBC, MUSL, Build, Native, Unfit
from onefile.boot.machine import Machine, choose

SCRIPTS: Final = Path(__file__).parents[3] / "scripts"
HERE: Final = Machine.here()
SAYS_WHERE: Final = """\
import sys
def main():
    if "--help" not in sys.argv:
        import _json
        print(_json.__file__)
    print("ran", *sys.argv[1:])
    return 0
"""


def make(
    output: Path, version: str = "1.0", epoch: int = 1_700_000_000, machine: str = HERE.name, family: str = GLIBC
) -> str:
    """A file with a compiled module of this very Python in it."""
    origin = importlib.util.find_spec("_json")
    assert origin is not None
    if not origin.origin or not origin.origin.endswith(".so"):
        pytest.skip("this Python has its compiled modules built in")
    module = Path(origin.origin)
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w:xz") as tar:
        info = tarfile.TarInfo(module.name)
        info.size = module.stat().st_size
        tar.addfile(info, io.BytesIO(module.read_bytes()))
    native = Native(machine, (1, 0), (HERE.python,), family)
    build = Build(version, (native,))
    lib = {"dfedge/__init__.py": b"", "dfedge/__main__.py": SAYS_WHERE.encode()}
    return pack.write(output, build, lib, {native.member: tarred.getvalue()}, epoch)


def run(file: Path, *words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """As a user starts it."""
    environ: Mapping[str, str] = {"DFEDGE_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-I", file, *words], env=environ, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A folder that is not there yet; what is above it belongs to us, and to nobody else."""
    tmp_path.chmod(0o700)
    return tmp_path / "cache"


def test_a_version_or_a_help_unpacks_nothing(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "dfedge.pyz"
    make(file)
    assert run(file, "--version", cache=cache).stdout == "dfedge 1.0\n"
    assert run(file, "get", "--help", cache=cache).stdout == "ran get --help\n"
    assert not cache.exists()


def test_it_is_unpacked_once_and_the_old_build_goes_unless_it_runs(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "dfedge.pyz"
    names = [f"{make(file, version)}-{HERE.name}" for version in ("1.0", "1.1", "1.2")]
    for version, name, left in (("1.0", names[0], names[:1]), ("1.1", names[1], names[1:2])):
        make(file, version)
        for _ in range(2):
            ran = run(file, "ls", cache=cache)
            assert ran.stdout.startswith(f"{cache / name}/_json."), ran.stderr
        assert [path.name for path in cache.iterdir()] == left
    make(file, "1.2")
    with (cache / names[1] / place.MARK).open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert run(file, "ls", cache=cache).returncode == 0
        assert sorted(path.name for path in cache.iterdir()) == sorted(names[1:])


def test_what_others_may_write_or_is_not_whole_is_never_used(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "dfedge.pyz"
    folder = cache / f"{make(file)}-{HERE.name}"
    run(file, "ls", cache=cache)
    for spoil in (
        lambda: folder.chmod(0o777),
        (folder / place.MARK).unlink,
        lambda: (folder / place.MARK).write_text("another\n"),
        lambda: (folder / place.MARK).chmod(0o666),
    ):
        spoil()
        (folder / "planted").write_text("")
        assert run(file, "ls", cache=cache).stdout.startswith(str(folder))
        assert not (folder / "planted").exists()
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_a_folder_that_others_may_change_or_own_is_not_safe(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert place.safe(inner)
    (tmp_path / "a").chmod(0o777)
    assert not place.safe(inner)
    (tmp_path / "a").chmod(0o1777)
    assert place.safe(inner)
    (tmp_path / "link").symlink_to(inner)
    assert not place.safe(tmp_path / "link")
    if os.geteuid() == 0:
        os.chown(inner, 12345, 12345)
        assert not place.safe(inner)


def test_two_first_starts_at_once_both_work(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "dfedge.pyz"
    folder = cache / f"{make(file)}-{HERE.name}"
    command = [sys.executable, "-I", str(file), "ls"]
    environ = {"DFEDGE_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    started = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[0] for process in started]
    assert all("ran ls" in text for text in said), said
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_where_nothing_can_be_unpacked_it_runs_from_memory(tmp_path: Path) -> None:
    file = tmp_path / "dfedge.pyz"
    make(file)
    code = (
        "import runpy, sys; from onefile.boot import place; place.bases = lambda *_: [];"
        f"sys.argv = ['x', 'ls']; runpy.run_path({str(file)!r}, run_name='__main__')"
    )
    environ = {"PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert ran.stdout.startswith("/proc/self/fd/"), ran.stderr
    assert "ran ls" in ran.stdout


def test_a_file_cut_short_or_altered_says_so(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "dfedge.pyz"
    make(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    cut = run(file, "--version", cache=cache)
    assert (cut.returncode, "damaged-or-cut-short" in cut.stderr) == (1, True)
    for at in range(whole.index(b"native/"), len(whole) - 2000, len(whole) // 7):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        ran = run(file, "ls", cache=cache)
        assert ran.returncode == 1
        assert "damaged" in ran.stderr, ran.stderr
        assert len(ran.stderr.splitlines()) == 2, ran.stderr
    assert not cache.exists() or not list(cache.iterdir())


BUILD: Final = Build("1.0", (Native("aarch64", (2, 28), ("311", "313")),))


@pytest.mark.parametrize(
    ("here", "told"),
    [
        (Machine("riscv64", (2, 36), "311", False), "this machine is riscv64, this file is for aarch64"),
        (Machine("armv6l", (2, 36), "311", False), "this machine is armv6l"),
        (Machine("aarch64", None, "311", False), "is neither glibc nor musl, this file is for glibc"),
        (Machine("aarch64", None, "311", False, musl=True), "C library is musl, this file is for glibc"),
        (Machine("aarch64", (2, 17), "311", False), "has glibc 2.17, on aarch64 2.28 is needed"),
        (Machine("aarch64", (2, 36), "312", False), "this is Python 3.12, on aarch64 this file is for 3.11, 3.13"),
        (Machine("aarch64", (2, 36), "313", True), "free-threaded"),
    ],
)
def test_a_machine_that_does_not_fit_is_told_why_in_one_line(here: Machine, told: str) -> None:
    with pytest.raises(Unfit) as refused:
        choose(BUILD, here)
    assert told in str(refused.value)
    assert refused.value.hint
    assert "\n" not in str(refused.value)


def test_a_machine_that_fits_gets_its_parts() -> None:
    assert choose(BUILD, Machine("aarch64", (2, 36), "313", False)).member == "native/aarch64.tar.xz"


def test_a_file_for_musl_is_for_musl_alone() -> None:
    build = Build("1.0", (Native("x86_64", (1, 2, 4), ("311", "312"), MUSL),), "0" * 64)
    assert Build.parse(build.text()) == build
    alpine = Machine("x86_64", None, "312", False, musl=True)
    assert choose(build, alpine).member == "native/x86_64-musl.tar.xz"
    choose(build, replace(alpine, libc=(1, 2, 5)))
    with pytest.raises(Unfit, match=r"has musl 1\.2\.3, on x86_64 1\.2\.4 is needed"):
        choose(build, replace(alpine, libc=(1, 2, 3)))
    with pytest.raises(Unfit, match="C library is glibc, this file is for musl"):
        choose(build, Machine("x86_64", (2, 36), "312", False))
    with pytest.raises(Unfit, match=r"this is Python 3\.13"):
        choose(build, Machine("x86_64", None, "313", False, musl=True))


def test_with_musl_and_no_disk_to_unpack_to_it_says_so(tmp_path: Path) -> None:
    file = tmp_path / "dfedge.pyz"
    make(file, family=MUSL)
    code = (
        "import runpy, sys; from onefile.boot import machine, place; place.bases = lambda *_: [];"
        "machine.EXTENSION_SUFFIXES = ['.cpython-313-x86_64-linux-musl.so'];"
        f"sys.argv = ['x', 'ls']; runpy.run_path({str(file)!r}, run_name='__main__')"
    )
    environ = {"PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("dfedge: can be unpacked neither to nowhere nor to memory (musl"), ran.stderr


def test_a_wrong_machine_is_refused_by_the_file_itself(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "dfedge.pyz"
    make(file, machine="riscv64")
    ran = run(file, "ls", cache=cache)
    assert ran.stderr.startswith(f"dfedge: this machine is {HERE.name}, this file is for riscv64 [refused]\n  try: ")


def test_a_python_of_long_ago_can_read_as_far_as_the_refusal() -> None:
    ast.parse((pack.BOOT / "entry.py").read_text(encoding="utf-8"), feature_version=(3, 4))


def test_the_same_parts_give_the_same_bytes_whenever_they_are_packed(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert make(tmp_path / "c", epoch=1_800_000_000) == make(tmp_path / "a"), "the id is that of the contents"


def test_everything_that_goes_in_is_locked() -> None:
    assert set(lock.read()) == {*lock.PURE, *lock.ABI3, *lock.EACH_PYTHON}
