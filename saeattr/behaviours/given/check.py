"""What rows would become, before anything is run: which align, token by token, and why the others do not."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pandas as pd
from transformers import PreTrainedTokenizerBase

from saeattr.behaviours.given.make import Reading, make_pairs
from saeattr.behaviours.given.source import GivenRows
from saeattr.behaviours.pair import NO_PARTNER, Pair
from saeattr.behaviours.table import pairs_to_rows


@dataclass(frozen=True)
class CheckedRows:
    """What rows become.

    Attributes:
        rows: one for each pair: row (its number in the file), id, group, tokens (of the clean prompt), corrupted (of
            the other; 0 where there is none), changed, without_partner, read_at (the token), answer, wrong.
        faults: one for each row that makes no pair: row, id, reason, mend.
        pairs: those of ``rows``.
    """

    rows: pd.DataFrame
    faults: pd.DataFrame
    pairs: list[Pair]

    def tokens(self, at: int, tokenizer: PreTrainedTokenizerBase) -> pd.DataFrame:
        """One pair token by token: position, clean, corrupted, role, read (whether the metric is read there).

        A token of the corrupted prompt alone has the position -1 and no role.
        """
        pair = self.pairs[at]
        row = pairs_to_rows([pair], tokenizer).iloc[0]
        clean = list(row["clean_tokens"])
        table = pd.DataFrame({"position": range(len(clean)), "clean": clean})
        table["corrupted"] = list(row["corrupted_tokens"]) or ""
        table = table.assign(role=list(row["roles"]), read=table["position"].isin(list(row["positions"])))
        others = [place for place in range(len(pair.corrupted_ids or ())) if place not in (pair.partners or (place,))]
        if not others:
            return table
        texts = [str(tokenizer.decode([(pair.corrupted_ids or ())[place]])) for place in others]
        alone = pd.DataFrame({"position": -1, "clean": NO_PARTNER, "corrupted": texts, "role": "", "read": False})
        # They stand before the first clean token whose partner comes after them.
        later = (place for place, partner in enumerate(pair.partners or ()) if partner > others[-1])
        behind = next(later, len(table))
        return pd.concat([table[:behind], alone, table[behind:]], ignore_index=True)


def check_rows(tokenizer: PreTrainedTokenizerBase, given: GivenRows, reading: Reading) -> CheckedRows:
    """Make every row's pair, and describe it."""
    pairs, faults = make_pairs(tokenizer, given.rows, reading)
    numbers = {(row.group, row.pair_id): row.row for row in given.rows}
    text = functools.cache(lambda token: str(tokenizer.decode([token])))

    def described(pair: Pair) -> dict[str, object]:
        answer = [token for point in pair.points for token in point.wanted]
        wrong = [token for point in pair.points for token in point.unwanted]
        return {
            "row": numbers[pair.group, pair.pair_id],
            "id": pair.pair_id,
            "group": pair.group,
            "tokens": len(pair.clean_ids),
            "corrupted": len(pair.corrupted_ids or ()),
            "changed": len(pair.changed_positions),
            "without_partner": sum(at < 0 for at in pair.partners or ()),
            "read_at": text(pair.clean_ids[pair.points[0].position]),
            "answer": " ".join(map(text, answer)),
            "wrong": " ".join(map(text, wrong)),
        }

    columns = ["row", "id", "reason", "mend"]
    told = sorted([*given.faults, *faults], key=lambda fault: fault.row)
    listed = pd.DataFrame([[one.row, one.pair_id, one.reason, one.mend] for one in told], columns=columns)
    return CheckedRows(pd.DataFrame([described(pair) for pair in pairs]), listed, pairs)
