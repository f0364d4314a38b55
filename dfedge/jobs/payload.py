"""The file that is deployed: read whole, and known to be dfedge's."""

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dfedge.core.errors import Corrupt, NotFound, Refused
from dfedge.core.units import size

MAX_BYTES: Final = 64 * 1024 * 1024  # the file of three machines has 10 MB
ANOTHER: Final = "dfedge fleet deploy --file dfedge.pyz HOST, with a whole copy of it"


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
            raise NotFound(f"{path}: does not exist", ANOTHER) from None
        except OSError as error:
            raise Refused(f"{path}: {(error.strerror or str(error)).lower()}") from error
        if len(data) > MAX_BYTES:
            raise Corrupt(f"{path}: is no dfedge.pyz, it has over {size(MAX_BYTES)}", ANOTHER)
        return cls.of(data, str(path))

    @classmethod
    def of(cls, data: bytes, subject: str) -> "Payload":
        """Know it by its names, and by the checksum of each file in it. Raises Corrupt."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = archive.namelist()
                if "__main__.py" not in names:
                    raise Corrupt(f"{subject}: is no dfedge.pyz, nothing in it can be run", ANOTHER)
                damaged = archive.testzip()
        except (zipfile.BadZipFile, ValueError, EOFError) as error:
            raise Corrupt(f"{subject}: is no dfedge.pyz, or was cut short", ANOTHER) from error
        except (zlib.error, NotImplementedError, RuntimeError) as error:
            raise Corrupt(f"{subject}: is damaged: {error}", ANOTHER) from error
        if damaged:
            raise Corrupt(f"{subject}: is damaged: {damaged} in it is not as it was built", ANOTHER)
        native = (name.removeprefix("native/").partition(".")[0] for name in names if name.startswith("native/"))
        return cls(data, frozenset(native), hashlib.sha256(data).hexdigest())
