"""Damaged and hostile SAE folders: the numbers of the whole one, or one clear line.

A few cases of each kind of SAE are tried in ``make test``, a sixth of them with SAEATTR_FAULTS=all (``make
faults``), and every one with SAEATTR_FAULTS=each.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.faults import sae_damage
from tests.faults.chosen import some
from tests.faults.damage import Damage
from tests.faults.folders import ARCHITECTURES, NPZ, npz_arrays, whole_sae, write_arrays
from tests.faults.opening import open_saes
from tests.faults.opponent import BAD, Found, counted, open_limited, told

#: Each architecture of sae-lens, two as they were saved before version 6, and Gemma Scope's params.npz.
KINDS = (*ARCHITECTURES, "old jumprelu", "old topk", "npz")


def made(kind: str, whole: Path) -> list[tuple[str, Damage]]:
    """A whole folder, and what is done to copies of it."""
    if kind == "npz":
        write_arrays(whole / NPZ, npz_arrays())
        return list(sae_damage.npz_cases())
    config, held = whole_sae(kind.removeprefix("old "), whole)
    if kind.startswith("old "):
        sae_damage.old_config(whole)
        config = json.loads((whole / "cfg.json").read_text(encoding="utf-8"))
    return list(sae_damage.lens_cases(config, held))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_sae_folder_is_refused_in_one_line_or_read_rightly(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "damaged"
    cases = [case for case in made(kind, whole) if case[0] not in sae_damage.OWN_WORD]
    numbers = open_limited(open_saes, whole, "").said
    assert "no finite" not in numbers
    found: dict[str, Found] = {}
    for name, damage in some(cases, 2, f"SAE {kind}", len(cases) // 6):
        shutil.copytree(whole, folder)
        damage(folder)
        found[name] = open_limited(open_saes, folder, numbers)
        if list(folder.rglob("mark")):
            found[name] = Found("wrong", "code was run")
        shutil.rmtree(folder)
    told(request, "SAE files", {f"{kind}: {name}": one for name, one in found.items()})
    bad = {name: one for name, one in found.items() if one.kind in BAD}
    assert not bad, f"{counted(found.values())}: {bad}"
