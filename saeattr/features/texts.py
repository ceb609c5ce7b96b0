"""Features in texts, of one's own or of a study's pairs: which fire where, at every token but BOS."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.chat import chat_prompt, conversation
from saeattr.behaviours.pair import Pair
from saeattr.errors import UserError
from saeattr.model.capture import capture
from saeattr.model.loading import LanguageModel
from saeattr.model.prompts import Prompts
from saeattr.progress import OnCount, quiet
from saeattr.runs.base import token_chunks
from saeattr.runs.halving import batches_that_fit
from saeattr.saes.formats import SaeFile
from saeattr.saes.loading import stream_saes
from saeattr.saes.sae import SparseAutoencoder
from saeattr.sites import Site
from saeattr.tables import FIRING, Feature, site_columns

#: A conversation: turns with ``role`` and ``content``.
Chat = Sequence[Mapping[str, str]]
#: Features as a user names them: addresses or indices, or a table with layer, kind and feature; None for none.
FeatureNames = str | int | Sequence[str | int] | pd.DataFrame | None
#: Features of a site that are shown where none are named.
TOP = 5


@dataclass(frozen=True)
class PairText:
    """Where a text stands that is one prompt of a pair.

    Attributes:
        run: clean or corrupted; the corrupted prompt of a pair follows its clean one.
        roles: what each position is for; blank for a token without a partner in the clean prompt.
        points: the positions at which the model decides.
        aligned: whether both prompts have equally many tokens, each the partner of the one below it.
        branches: as ``Pair.branches``.
    """

    group: str
    pair_id: str
    run: Literal["clean", "corrupted"]
    roles: tuple[str, ...]
    points: tuple[int, ...]
    aligned: bool
    branches: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ReadText:
    """A text as the model reads it.

    Attributes:
        ids, tokens: all of it, BOS included; the tokens as text.
        start: the first position that is looked at: 1 where BOS is before it, whose activations are of another size.
        of: the pair that it is of; None for a text of one's own.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    start: int
    of: PairText | None = None

    @property
    def name(self) -> str:
        """``cities 000, clean``; blank for a text of one's own."""
        return f"{self.of.group} {self.of.pair_id}, {self.of.run}" if self.of is not None else ""


@dataclass(frozen=True)
class Look:
    """Which features fire where in some texts.

    Attributes:
        model: its name.
        texts: in the order in which they were given.
        features: those looked at, in the order of sites; one that never fires has no row.
        table: ``tables.FIRING``, a row for each token at which one of them is active.
    """

    model: str
    texts: tuple[ReadText, ...]
    features: tuple[Feature, ...]
    table: pd.DataFrame


def read_text(lm: LanguageModel, text: str | Chat, *, chat: bool = False) -> ReadText:
    """A text (with ``chat`` as a user's turn, up to where the answer begins) or a conversation, as tokens.

    Raises:
        UserError: nothing is in it, it is longer than the model's context, or the model has no chat template.
    """
    tokenizer: PreTrainedTokenizerBase = lm.tokenizer
    if isinstance(text, str):
        ids: list[int] = chat_prompt(tokenizer, text) if chat else list(tokenizer.encode(text))
    else:
        ids = conversation(tokenizer, text)
    text_read = _read(tokenizer, ids)
    if len(ids) == text_read.start:
        raise UserError("a text is empty: give at least one word")
    longest = getattr(lm.hf.config.get_text_config(), "max_position_embeddings", None)
    if longest is not None and len(ids) > longest:
        raise UserError(f"a text has {len(ids)} tokens and the model reads {longest}: give a shorter one, or parts")
    return text_read


def read_pair(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> list[ReadText]:
    """Both prompts of a pair, the clean one first; the clean one alone where there is no other."""
    points = tuple(point.position for point in pair.points)
    clean = PairText(
        pair.group, pair.pair_id, "clean", pair.roles, points, aligned=pair.partners is None, branches=pair.branches
    )
    found = [dataclasses.replace(_read(tokenizer, pair.clean_ids), of=clean)]
    if pair.corrupted_ids is None:
        return found
    partners = range(len(pair.clean_ids)) if pair.partners is None else pair.partners
    own = {partner: at for at, partner in enumerate(partners) if partner >= 0}
    positions, branches = range(len(pair.corrupted_ids)), pair.branches
    corrupted = dataclasses.replace(
        clean,
        run="corrupted",
        roles=tuple(pair.roles[own[at]] if at in own else "" for at in positions),
        points=tuple(partners[at] for at in points),
        branches=branches and tuple(branches[own[at]] if at in own else 0 for at in positions),
    )
    return [*found, dataclasses.replace(_read(tokenizer, pair.corrupted_ids), of=corrupted)]


def _read(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> ReadText:
    start = 1 if ids and ids[0] == tokenizer.bos_token_id else 0
    return ReadText(tuple(map(int, ids)), tuple(str(tokenizer.decode([token])) for token in ids), start)


@torch.no_grad()
def look_at(
    lm: LanguageModel,
    texts: Sequence[ReadText],
    files: Sequence[SaeFile],
    features: Mapping[Site, Sequence[int]] | None = None,
    top: int = TOP,
    on_site: OnCount = quiet,
) -> Look:
    """Read the features of each SAE, one SAE in memory at a time, at every token of the texts but BOS.

    Args:
        features: by site; None takes the ``top`` of each site that fire most: the largest sum over all tokens of
            activation times the length of the decoder direction (so far a feature moves x).

    Raises:
        UserError: a feature is none of its SAE's, or one text at a time does not fit into memory.
    """
    for file in files:
        for feature in (features or {}).get(file.site, ()):
            if not 0 <= feature < file.d_sae:
                raise UserError(f"the SAE of {file.site} has {file.d_sae} features, so none is numbered {feature}")
    # One text at a time, so that what a text gives does not depend on the others' lengths.
    sites = [file.site for file in files]
    attempt = functools.partial(_activations, lm, sites)
    x = list(batches_that_fit(lm.device, texts, 1, attempt, "one text", "give shorter ones, or use --device cpu"))
    shown: list[Feature] = []
    parts: list[pd.DataFrame] = []
    for done, sae in enumerate(stream_saes(files, lm.device)):
        on_site(done, len(files))
        whole = torch.cat([own[sae.site] for own in x])
        wanted = _most_active(sae, whole, top) if features is None else list(features.get(sae.site, ()))
        shown += [(sae.site, feature) for feature in wanted]
        parts.append(_rows(sae, texts, [own[sae.site] for own in x], wanted))
    on_site(len(files), len(files))
    filled = [part for part in parts if len(part)]
    table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    return Look(lm.name, tuple(texts), tuple(shown), FIRING.frame(table))


def _activations(
    lm: LanguageModel, sites: Sequence[Site], texts: Sequence[ReadText]
) -> dict[Site, Float[Tensor, "tokens d_in"]]:
    """x at every token but BOS of a single text."""
    (text,) = texts
    tokens = torch.tensor([text.ids], device=lm.device)
    branches = None if text.of is None or text.of.branches is None else torch.tensor([text.of.branches])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    x = capture(lm, Prompts(tokens, mask, None if branches is None else branches.to(lm.device)), sites).x
    return {site: x[site][0, text.start :] for site in sites}


def _most_active(sae: SparseAutoencoder, x: Float[Tensor, "tokens d_in"], top: int) -> list[int]:
    """The features that fire most, the first first; fewer where fewer fire."""
    total = torch.zeros(sae.d_sae, device=x.device)
    for chunk in token_chunks(sae, len(x)):
        total += sae.encode(x[chunk]).sum(0)
    size = total * sae.W_dec.norm(dim=1)
    order = torch.argsort(-size, stable=True)[:top]
    return [int(feature) for feature in order if size[feature] > 0]


def _rows(
    sae: SparseAutoencoder, texts: Sequence[ReadText], x: Sequence[Float[Tensor, "tokens d_in"]], wanted: Sequence[int]
) -> pd.DataFrame:
    """``tables.FIRING`` of one site."""
    ids = torch.tensor(list(wanted), dtype=torch.long, device=sae.W_dec.device)
    rows: list[dict[str, Any]] = []
    for number, (text, own) in enumerate(zip(texts, x, strict=True)):
        f = torch.cat([sae.encode(own[chunk])[:, ids] for chunk in token_chunks(sae, len(own))]).cpu().numpy()
        for nth, feature in enumerate(wanted):
            for at in np.flatnonzero(f[:, nth]):
                position = int(at) + text.start
                place = {"text": number, "position": position, "token": text.tokens[position]}
                rows.append({**place, **site_columns(sae.site), "feature": feature, "activation": f[at, nth]})
    return pd.DataFrame(rows)
