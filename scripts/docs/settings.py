"""docs/settings.md and configs/bundled.yaml, from the fields of saeattr/settings/fields.py.

python scripts/docs/settings.py
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import yaml
from annotated_types import Ge, Gt, Le, Lt

from saeattr.cli.options import explain, show_default
from saeattr.settings import PARTS, SETTINGS, Setting, StudySettings

ROOT = Path(__file__).parents[2]
PAGE, EXAMPLE = ROOT / "docs" / "settings.md", ROOT / "configs" / "bundled.yaml"

HEAD = """# Settings

Written by `scripts/docs/settings.py` from `saeattr/settings/fields.py`. A setting has the same name everywhere:
`max_sites` is the keyword `max_sites=4` in Python, the line `max_sites: 4` in YAML
([configs/bundled.yaml](../configs/bundled.yaml) has every one with its default) and the option `--max-sites 4` of the
commands named here. `--config FILE` reads YAML, and may hold settings that the command has no option for; options and
keywords override it. `topic` is another name of `group`, and with `validate` `top` of `validate_top`. A setting given
twice in one place is refused, and so is an empty one. A file of settings has at most 256 KiB, and no aliases (`*name`).

Several values: repeat `--group`, put commas between layers, kinds or sites, write the two tokens of `--contrast` one
after the other; in YAML and Python they are lists.

**Study**: a study with another value is another study, and a folder with one refuses the other. The rest may change
from run to run.
"""

EXAMPLE_HEAD = """\
# Every setting with its default: the study that `saeattr attribute` makes of the bundled model.
# Use a copy: saeattr attribute --config my.yaml; options override it. null is the same as leaving the line out.
# Written by scripts/docs/settings.py; docs/settings.md has the same as a table.
"""

COLUMNS = ("setting", "type", "default", "what it is", "study", "commands")
TYPES = {bool: "yes or no", int: "whole number", float: "number", str: "text"}
LIMITS = ((Ge, "ge", "at least"), (Gt, "gt", "above"), (Le, "le", "at most"), (Lt, "lt", "below"))


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    EXAMPLE.write_text(example(), encoding="utf-8")
    print(f"{PAGE}\n{EXAMPLE}")


def page() -> str:
    """docs/settings.md: a table for each part."""
    lines = [HEAD]
    for part in PARTS:
        lines += [f"## {part[0].upper()}{part[1:]}", "", _row(COLUMNS), _row("---" for _ in COLUMNS)]
        lines += [_row(_cells(setting)) for setting in SETTINGS.values() if setting.part == part]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def example() -> str:
    """configs/bundled.yaml: each setting with its help and default."""
    lines = [EXAMPLE_HEAD]
    for part in PARTS:
        lines.append(f"# --- {part}")
        for setting in SETTINGS.values():
            if setting.part == part:
                lines += [*_comment(setting), _line(setting)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _comment(setting: Setting) -> list[str]:
    without = f" Default: {setting.without}." if setting.without else ""
    text = f"{explain(setting)}.{without}"
    return textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _line(setting: Setting) -> str:
    value = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    return f"{setting.name}: {yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"


def _cells(setting: Setting) -> Iterable[str]:
    default = show_default(setting)
    if not setting.without:
        default = f"`{setting.default if setting.form is bool else default}`"
    study = "yes" if setting.identifies else ""
    return f"`{setting.name}`", _type(setting), default, explain(setting), study, ", ".join(setting.commands)


def _type(setting: Setting) -> str:
    """A field's type in words, with its limits."""
    values = get_args(setting.form)[0] if setting.n_values != 1 else setting.form
    words = TYPES.get(values, "name") if setting.name not in ("group", "behaviour", "metric", "method") else "name"
    if setting.n_values != 1:
        words = f"two {words}s" if setting.n_values else f"{words}s"
    limits = [
        f"{said} {getattr(limit, name)}"
        for kind, name, said in LIMITS
        for limit in StudySettings.model_fields[setting.name].metadata
        if isinstance(limit, kind)
    ]
    return ", ".join([words, *limits])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    main()
