"""The file that is deployed: read whole, and known to be dfedge's."""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import Corrupt, NotFound, Refused
from dfedge.core.units import size

MAX_BYTES: Final = 64 * 1024 * 1024  # the file of three machines has 10 MB


@dataclass(frozen=True, slots=True)
class Payload:
    """dfedge in one file, and the machines it is for (none named: for any)."""

    data: bytes
    machines: frozenset[str]
    sha256: str

    @classmethod
    def load(cls, path: Path) -> "Payload":
        """Read it. Raises NotFound, Refused or Corrupt."""
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise NotFound(f"{path}: does not exist", f"scripts/build-zipapp -o {path}") from None
        except OSError as error:
            raise Refused(f"{path}: {(error.strerror or str(error)).lower()}") from error
        if len(data) > MAX_BYTES:
            raise Corrupt(f"{path}: is no dfedge.pyz, it has over {size(MAX_BYTES)}")
        return cls.of(data, str(path))

    @classmethod
    def of(cls, data: bytes, subject: str) -> "Payload":
        """Know it by its names. Raises Corrupt."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, ValueError, EOFError) as error:
            raise Corrupt(
                f"{subject}: is no dfedge.pyz, or was cut short", f"scripts/build-zipapp -o {subject}"
            ) from error
        if "__main__.py" not in names:
            raise Corrupt(
                f"{subject}: is no dfedge.pyz, nothing in it can be run", f"scripts/build-zipapp -o {subject}"
            )
        native = (name.removeprefix("native/").partition(".")[0] for name in names if name.startswith("native/"))
        return cls(data, frozenset(native), hashlib.sha256(data).hexdigest())
