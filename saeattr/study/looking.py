"""Texts of one's own, with a study's model and SAEs or with those that are named: which features fire where."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from saeattr.behaviours.behaviour import find_behaviour
from saeattr.behaviours.pair import Pair, by_group
from saeattr.errors import UserError
from saeattr.features.texts import TOP, Chat, FeatureNames, Look, ReadText, look_at, read_pair, read_text
from saeattr.model.loading import LanguageModel, load_model
from saeattr.progress import OnProgress, about, counting, quiet
from saeattr.saes.formats import SaeFile
from saeattr.settings import make_settings
from saeattr.sites import Site, parse_site
from saeattr.study.passed import NOTHING
from saeattr.study.prepare import known_model, resolve, usable_saes
from saeattr.study.reopen import opened, study_task
from saeattr.study.results import Study
from saeattr.tables import by_site, features_of

#: Pairs of a study that are looked at where no number is given.
PAIRS = 6
#: Settings that say which model and which SAEs.
NAMES = ("model", "saes", "sae_width", "sae_l0", "dtype", "sites")


def look(
    texts: str | Chat | Sequence[str | Chat] | None = None,
    *,
    study: str | Path | Study | None = None,
    features: FeatureNames = None,
    group: str | None = None,
    pairs: int = PAIRS,
    chat: bool = False,
    top: int = TOP,
    device: str = "auto",
    on_progress: OnProgress = quiet,
    **settings: Any,
) -> Look:
    """Which features fire where in texts of your own or in a study's pairs, at every token but BOS.

    Args:
        texts: a text, a conversation (a list of turns with role and content), or several of these. None takes the
            prompts of the study's pairs, each clean one before its corrupted one.
        study: whose model and SAEs are used; without one ``settings`` name them.
        features: addresses such as ``resid_post.3/423``, indices where there is one site, or a table with the columns
            layer, kind and feature; None for the ``top`` of each site that fire most.
        group, pairs: without texts, so many pairs of one group, or of all groups in turn; each text says whose it is.
        chat: each text is a user's turn, put into the model's chat template up to where the answer begins.
        settings: ``model``, ``saes``, ``sae_width``, ``sae_l0``, ``dtype`` and ``sites``, as for ``attribute``.

    Returns:
        the texts, the features, and a table with a row for each token at which one of them is active.

    Raises:
        UserError: a text, feature, model or site cannot be used.
    """
    if top < 1:
        raise UserError(f"--top cannot be {top}: show at least one feature of each site")
    given = None if texts is None and study is not None else as_texts(texts or [])
    if given is None and chat:
        raise UserError("--chat is for texts of your own: a study's pairs are whole prompts already")
    if given is not None and group is not None:
        raise UserError("--group names pairs of a study: leave out the texts, or the group")
    on_step = about(on_progress, "look")
    read: list[ReadText] = []
    if study is not None:
        _refuse_settings(settings)
        known = opened(study)
        if group is not None and group not in known.groups:
            raise UserError(f"the study has no group {group!r}: its groups are {', '.join(known.groups)}")
        task = study_task(known, on_step, device)
        lm, files = task.lm, list(task.saes)
        if given is None:
            chosen = choose_pairs(task.pairs, group, pairs)
            read = [text for pair in chosen for text in read_pair(lm.tokenizer, pair)]
    else:
        lm, files = _open(features, settings, device)
    wanted = named_features(features, [file.site for file in files])
    read += [read_text(lm, text, chat=chat) for text in given or ()]
    files = files if wanted is None else [file for file in files if file.site in wanted]
    return look_at(lm, read, files, wanted, top, counting(on_step, "activations"))


def choose_pairs(pairs: Sequence[Pair], group: str | None, count: int) -> list[Pair]:
    """The first so many pairs of a group; of all groups in turn where none is named.

    Raises:
        UserError: none is wanted.
    """
    if count < 1:
        raise UserError(f"--pairs cannot be {count}: look at one at least")
    groups = by_group(pairs)
    own = list(groups.values()) if group is None else [groups[group]]
    in_turn = [pair for row in itertools.zip_longest(*own) for pair in row if pair is not None][:count]
    return sorted(in_turn, key=lambda pair: list(groups).index(pair.group))


def as_texts(texts: str | Chat | Sequence[str | Chat]) -> list[str | Chat]:
    """One text or conversation, or several of them, as a list.

    Raises:
        UserError: there is none.
    """
    found: list[Any] = [texts] if isinstance(texts, str) else list(texts)
    if not found:
        raise UserError("there is no text to look at: give one or more")
    if any(isinstance(text, str) and not text.strip() for text in found):
        raise UserError("a text is empty: give at least one word")
    # The turns of one conversation, and not several texts.
    return [found] if isinstance(found[0], Mapping) else found


def named_features(features: FeatureNames, sites: Sequence[Site]) -> dict[Site, list[int]] | None:
    """The named features by site; None where none are named.

    Raises:
        UserError: a name is no feature, or an index could be of several sites.
    """
    if features is None:
        return None
    if isinstance(features, pd.DataFrame):
        return by_site(list(dict.fromkeys(features_of(features))))
    names = [features] if isinstance(features, (str, int)) else list(features)
    found: dict[Site, list[int]] = {}
    for name in names:
        address, _, number = str(name).rpartition("/")
        if not number.strip().isdecimal():
            raise UserError(f"{name!r} is not a feature: write an index, or an address such as resid_post.3/423")
        if not address and len(sites) != 1:
            raise UserError(f"feature {name} could be of {len(sites)} sites: write an address like {sites[0]}/{name}")
        site = parse_site(address) if address else sites[0]
        if site not in sites:
            raise UserError(f"there is no SAE for {site}: there are SAEs for {', '.join(map(str, sites))}")
        if int(number) not in found.setdefault(site, []):
            found[site].append(int(number))
    if not found:
        raise UserError("no feature is named: name one or more, or leave --features out")
    return dict(sorted(found.items()))


def _open(features: FeatureNames, settings: Mapping[str, Any], device: str) -> tuple[LanguageModel, list[SaeFile]]:
    """The named model, and the SAEs of the named sites or of the features' addresses."""
    for name in settings:
        if name not in NAMES:
            raise UserError(f"{name!r} is not a setting of look, which takes {', '.join(NAMES)}")
    given = make_settings({**settings, "device": device})
    chosen = resolve(given, find_behaviour(given.behaviour))
    if chosen.sites is None:
        sites = _sites_of(features)
        if not sites:
            raise UserError("which sites are to be looked at? name one or more, such as --site resid_post.3")
        chosen = chosen.model_copy(update={"sites": tuple(map(str, sites))})
    files = usable_saes(chosen, NOTHING, known_model(chosen), True)
    return load_model(chosen.model, device=device, dtype=chosen.dtype or "float32"), files


def _sites_of(features: FeatureNames) -> list[Site]:
    """The sites of addresses; nothing where no name is an address."""
    if isinstance(features, pd.DataFrame):
        return sorted({site for site, _ in features_of(features)})
    names = [features] if isinstance(features, (str, int)) else features or ()
    return sorted({parse_site(str(name).rpartition("/")[0]) for name in names if "/" in str(name)})


def _refuse_settings(settings: Mapping[str, Any]) -> None:
    given = [name for name, value in settings.items() if value is not None]
    if given:
        raise UserError(f"a study has its own model and SAEs: leave out {', '.join(given)}")
