"""Starting a command must not start a compiler."""

import subprocess
import sys

_CODE = """
import sys
children = []
sys.addaudithook(lambda event, args: children.append(args) if event == "subprocess.Popen" else None)
from dfedge.trust.lean import asyncssh_lean
import ctypes.util
before = ctypes.util.find_library
asyncssh_lean()
import asyncssh
assert children == [], children
assert ctypes.util.find_library is before
assert "asyncssh.crypto.x509" not in sys.modules and "cryptography.x509" not in sys.modules
key = asyncssh.generate_private_key("ssh-ed25519")
assert key.generate_user_certificate(key, "x", principals=["y"]).principals == ["y"]
"""


def test_the_lean_import_starts_no_child_and_still_makes_certificates() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", _CODE], check=True)
