"""Let this environment see the packages of another one beside its own: ``python environment.py OTHER``.

What is installed here comes first, so nothing of the other environment is changed or downloaded again.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path


def main() -> None:
    own = Path(sysconfig.get_paths()["purelib"])
    other = Path(sys.argv[1]).absolute() / own.relative_to(sys.prefix)
    line = f"import site; site.addsitedir({str(other)!r})\n"
    (own / "beside.pth").write_text(line, encoding="utf-8")


if __name__ == "__main__":
    main()
