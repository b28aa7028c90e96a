"""What is this server called in its consumer group? The same after a restart, so that its entries are its own again."""

import contextlib
import re
import secrets
from pathlib import Path

_FILE = "consumer"
_NAME = re.compile(r"server-[0-9a-f]{8}")


def consumer_name(configured: str, folder: Path | None) -> str:
    """The configured name, or the one that the folder keeps; without a folder a new one each time.

    A folder that takes no file (it was writable when the server locked it) costs the name, not the start.
    """
    if configured:
        return configured
    made = f"server-{secrets.token_hex(4)}"
    if folder is None:
        return made
    path = folder / _FILE
    with contextlib.suppress(OSError, UnicodeDecodeError):
        kept = path.read_text().strip()
        if _NAME.fullmatch(kept):
            return kept
    with contextlib.suppress(OSError):
        path.write_text(f"{made}\n")
    return made
