"""What a user passes from Python in place of names: a model, and SAEs by their sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saeattr.errors import UserError
from saeattr.model.passed import PassedModel, passed_model
from saeattr.saes.formats import SaeFile
from saeattr.saes.held import held_saes
from saeattr.sites import Site

#: What the setting ``saes`` says where SAEs were passed.
PASSED_SAES = "passed from Python"


@dataclass(frozen=True)
class Passed:
    """Objects in place of names; None where there is a name."""

    model: PassedModel | None = None
    saes: Mapping[Site, SaeFile] | None = None

    @property
    def names(self) -> dict[str, str]:
        """The settings that the objects decide."""
        names = {} if self.saes is None else {"saes": PASSED_SAES}
        if self.model is not None:
            names |= {"model": self.model.lm.name, "dtype": self.model.dtype, "device": str(self.model.lm.device)}
        return names


NOTHING = Passed()


def take_passed(given: Mapping[str, Any]) -> tuple[Passed, dict[str, Any]]:
    """Take the objects out of the keywords of an operation: ``model``, ``tokenizer`` and ``saes``.

    Returns:
        the objects, and the other keywords.

    Raises:
        UserError: an object is not what belongs there, or another dtype or device is asked of a model that is open.
    """
    rest = dict(given)
    tokenizer, model, saes = rest.pop("tokenizer", None), rest.get("model"), rest.get("saes")
    opened, held = None, None
    if model is not None and not isinstance(model, str):
        opened = passed_model(rest.pop("model"), tokenizer)
        own = Passed(opened).names
        for name in ("dtype", "device"):
            if rest.get(name) not in (None, own[name]):
                raise UserError(f"the model passed is in {own[name]} already: leave out {name}={rest[name]!r}")
    elif tokenizer is not None:
        raise UserError("tokenizer= goes with a model that is passed from Python: leave it out")
    if saes is not None and not isinstance(saes, str):
        if not isinstance(saes, Mapping):
            raise UserError(f"saes is a {type(saes).__name__}: give names, or SAEs by sites: {{'resid_post.3': sae}}")
        held = held_saes(rest.pop("saes"))
    return Passed(opened, held), rest


def check_passed(record: Mapping[str, Any], passed: Passed) -> None:
    """A study made with objects needs them again, the same ones; one made with names takes none.

    Raises:
        UserError: one is missing, of other weights, or not wanted.
    """
    made_with = bool(record["model"].get("passed"))
    if made_with and passed.model is None:
        raise UserError(
            f"the study was made with a model passed from Python ({record['model']['name']}): pass it again, with "
            "model= and tokenizer="
        )
    if not made_with and passed.model is not None:
        raise UserError(f"the study was made with the model {record['settings']['model']}: leave out model=")
    if passed.model is not None and passed.model.sha256 != record["model"]["sha256"]:
        raise UserError("the model passed has other weights than the one that the study was made with: pass that one")
    with_saes = record["settings"].get("saes") == PASSED_SAES
    if not with_saes and passed.saes is not None:
        raise UserError(f"the study was made with the SAEs {record['settings'].get('saes')}: leave out saes=")
    for site, sha256 in record.get("saes", {}).items() if with_saes else ():
        own = {str(place): file.sha256 for place, file in (passed.saes or {}).items()}
        if site not in own:
            raise UserError(
                f"the study was made with SAEs passed from Python: pass those of {', '.join(record['saes'])} again, "
                f"with saes={{{site!r}: sae, ...}}"
            )
        if own[site] != sha256:
            raise UserError(f"the SAE passed for {site} has other weights than the study was made with: pass that one")
