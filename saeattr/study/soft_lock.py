"""A lock for file systems that have none: a marker that its holder touches, and that others may remove when it is old.

A marker is a weaker promise than the operating system's lock: it needs clocks that agree to within minutes.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

from filelock import SoftFileLock

#: Seconds between two signs of life, and without one before the holder counts as gone.
SIGN_EVERY, GONE_AFTER = 30.0, 900.0

#: What a file system without locks answers.
_WITHOUT = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


def lacks_locks(error: OSError) -> bool:
    """Whether an error says that the file system knows no locks."""
    return error.errno in _WITHOUT


class SignedLock(SoftFileLock):
    """A marker with a sign of life; that of a process of this machine that is gone is removed at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, lifetime=GONE_AFTER)
        self._ended = threading.Event()

    def _acquire(self) -> None:
        super()._acquire()
        if self.is_locked:
            self._ended.clear()
            threading.Thread(target=self._sign, name="saeattr sign of life", daemon=True).start()

    def _release(self) -> None:
        self._ended.set()
        super()._release()

    def _sign(self) -> None:
        while not self._ended.wait(SIGN_EVERY):
            # Where the disk does not answer, the next sign may.
            with suppress(OSError):
                os.utime(self.lock_file)
