"""Every table of a study: its columns with type, meaning and unit, and the keys and addresses of rows.

Writers take their columns from here (``Table.frame``), readers check against it (``Table.check``), and
docs/study-folder.md is printed from it (``scripts/docs/study_folder.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from saeattr.errors import UserError
from saeattr.sites import Site, parse_kind

#: What tells rows apart.
GROUP = "group"
PAIR = ["group", "pair_id"]
SITE = ["layer", "kind"]
FEATURE = ["layer", "kind", "feature"]
GROUP_SITE = ["group", *SITE]
GROUP_FEATURE = ["group", *FEATURE]

#: A feature by its site and index.
Feature = tuple[Site, int]

TYPES = {
    "int16": pa.types.is_integer,
    "int32": pa.types.is_integer,
    "int64": pa.types.is_integer,
    "float32": pa.types.is_floating,
    "float64": pa.types.is_floating,
    "bool": pa.types.is_boolean,
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "list": lambda kind: pa.types.is_list(kind) or pa.types.is_large_list(kind),
}


@dataclass(frozen=True)
class Column:
    """A column: ``type`` is a key of ``TYPES``; ``unit`` is blank for counts, names and shares."""

    name: str
    type: str
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the study folder.

    Attributes:
        name: of its file, without ``.parquet``.
        row: what one row stands for.
        columns: in their order.
        note: what a reader should know of all of it.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    note: str = ""

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def empty(self) -> pd.DataFrame:
        return self.frame(pd.DataFrame())

    def frame(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with its columns in order, each of its type; columns of no meaning here are left out."""
        if table.empty:
            # As objects: without values pandas would take texts for numbers, and readers refuse them.
            table = pd.DataFrame({name: pd.Series([], dtype="object") for name in self.names})
        kinds = {column.name: column.type for column in self.columns if column.type not in ("text", "list")}
        return table[self.names].astype(kinds).reset_index(drop=True)

    def check(self, schema: pa.Schema, where: str, columns: Sequence[str] | None = None) -> None:
        """Refuse a file that is not this table.

        Args:
            columns: those that are wanted; None for all.

        Raises:
            UserError: a column is missing or of another type.
        """
        for column in self.columns:
            if columns is not None and column.name not in columns:
                continue
            at = schema.get_field_index(column.name)
            if at < 0:
                raise UserError(
                    f"{where} has no column {column.name!r}: it is damaged or of another version, delete it and run "
                    "again"
                )
            kind = schema.field(at).type
            # A column without any value has no type of its own.
            if not TYPES[column.type](kind) and not pa.types.is_null(kind):
                raise UserError(
                    f"{where} has the column {column.name!r} as {kind}, and {column.type} belongs there: it is damaged "
                    "or of another version, delete it and run again"
                )


def sites_of(table: pd.DataFrame) -> list[Site]:
    """The site of each row."""
    return [Site(parse_kind(kind), int(layer)) for layer, kind in table[SITE].itertuples(index=False, name=None)]


def features_of(table: pd.DataFrame) -> list[Feature]:
    """Site and feature of each row."""
    return [(site, int(feature)) for site, feature in zip(sites_of(table), table["feature"], strict=True)]


def at_site(table: pd.DataFrame, site: Site) -> pd.DataFrame:
    """The rows of one site."""
    return table[(table["layer"] == site.layer) & (table["kind"] == site.kind)]


def by_site(features: Sequence[Feature]) -> dict[Site, list[int]]:
    """The features of each site, in their order."""
    found: dict[Site, list[int]] = {}
    for site, feature in features:
        found.setdefault(site, []).append(feature)
    return found


def site_columns(site: Site) -> dict[str, Any]:
    """layer and kind of one site, for a table's rows."""
    return {"layer": np.int16(site.layer), "kind": site.kind}


def address(site: Site, feature: int) -> str:
    """``resid_post.4/423``."""
    return f"{site}/{feature}"


def row_site(row: Mapping[Any, Any]) -> Site:
    """The site of one row, given as a mapping."""
    return Site(parse_kind(str(row["kind"])), int(row["layer"]))


def row_address(row: Mapping[Any, Any]) -> str:
    """The address of the feature of one row, given as a mapping."""
    return address(row_site(row), int(row["feature"]))


_GROUP = Column("group", "text", "the group of pairs: a topic of lists, a relation of facts")
_PAIR_ID = Column("pair_id", "text", "the pair, unique within its group")
_LAYER = Column("layer", "int16", "0 is the first")
_KIND = Column("kind", "text", "resid_post, attn_z or mlp_out")
_FEATURE = Column("feature", "int32", "index into the site's SAE")
_SITE_COLUMNS = (_LAYER, _KIND)
_METRIC = "metric"


def _median(name: str) -> tuple[Column, ...]:
    """The median of what ``NAME_mean`` is the mean of, with both ends of its interval."""
    return (
        Column(f"{name}_median", "float64", "its median over distinct pairs", _METRIC),
        Column(f"{name}_low", "float64", "lower end of the median's 95 % interval (order statistics)", _METRIC),
        Column(f"{name}_high", "float64", "upper end; both blank with fewer than six pairs", _METRIC),
    )


def _share(name: str, meaning: str) -> tuple[Column, ...]:
    return (
        Column(name, "float64", meaning),
        Column(f"{name}_low", "float64", "lower end of its 95 % interval over pairs (Student)"),
        Column(f"{name}_high", "float64", "upper end"),
    )


PAIRS = Table(
    "pairs",
    "one pair of prompts",
    (
        _GROUP,
        _PAIR_ID,
        Column("title", "text", "what a reader calls it"),
        Column("clean_ids", "list", "token ids of the clean prompt"),
        Column("corrupted_ids", "list", "of the corrupted prompt; nothing where there is none"),
        Column("clean_tokens", "list", "the clean tokens as text"),
        Column("corrupted_tokens", "list", "the corrupted token beside each; ∅ where it has none"),
        Column("partners", "list", "for each clean position the corrupted one, -1 for none; empty where all align 1:1"),
        Column("branches", "list", "for each position 0 (prompt), 1 or 2 (a continuation); empty for one text"),
        Column("roles", "list", "what each position is for"),
        Column("positions", "list", "the decision points: a token index each (BOS is 0)"),
        Column("wanted", "list", "for each decision point the token ids that the metric wants"),
        Column("unwanted", "list", "and those it does not want"),
        Column("weights", "list", "and its part of the mean over points (--decision all)"),
        Column("whole", "bool", "whether the points are one decision together, and the metric adds them up"),
        Column("times", "int64", "how often these tokens were drawn: a row for each distinct pair"),
    ),
)
TEST_PAIRS = Table(
    "test_pairs",
    "one pair of prompts that tests what others ranked",
    PAIRS.columns,
    "Drawn with another seed; none has the tokens of a pair in pairs.parquet. A behaviour with a fixed source has none "
    "of these: there each half of its pairs tests what the other half ranks.",
)
LISTS = Table(
    "lists",
    "one list that the model wrote, or one from elsewhere",
    (
        Column("topic", "text", "what the list is of"),
        Column("list_id", "text", "the list, unique within its topic"),
        Column(
            "length",
            "text",
            "the request: a short, a long or a list (none); few: short with a few, many: long with a many",
        ),
        Column("request", "text", "the user's turn"),
        Column("text", "text", "the answer up to its end"),
        Column("token_ids", "list", "the whole conversation: request, answer and the end of its turn"),
        Column("prompt_length", "int64", "how many of these tokens were given"),
        Column("items", "list", "the names of the complete items"),
        Column("item_spans", "list", "for each of them [start, end) in token positions"),
        Column("format", "text", "how the items open: hyphen, star, bullet, numbered or bare; blank without items"),
        Column("ended", "bool", "whether the list was ended, before the tokens ran out"),
        Column("temperature", "float64", "of sampling; blank where the list is from elsewhere"),
        Column("top_p", "float64", "of sampling; blank where the list is from elsewhere"),
        Column("seed", "int64", "the list's own; -1 where the list is from elsewhere"),
        Column("source", "text", "model, or the file and its row"),
    ),
    "One file a topic, ``lists/SLUG.parquet``; the folder opens as a Hugging Face dataset.",
)
ATTRIBUTIONS = Table(
    "attributions",
    "one active feature at one position",
    (
        _GROUP,
        _PAIR_ID,
        *_SITE_COLUMNS,
        _FEATURE,
        Column("position", "int32", "token index (BOS is 0)"),
        Column("token", "text", "the clean token there"),
        Column("role", "text", "what the position is for"),
        Column("act_clean", "float32", "activation in the clean run", "activation"),
        Column("act_base", "float32", "the base value it would be patched to", "activation"),
        Column("grad", "float32", "g . W_dec[feature], g the method's slope of the metric in x", "metric/activation"),
        Column("effect", "float32", "(act_base - act_clean) * grad", _METRIC),
    ),
    "Rows are kept where a feature has an entry: active in the clean or the corrupted run, or with another base in the "
    "clean run. Of a large group (or with ``keep_from``) the small ones are left out; entries.parquet says what that "
    "loses. BOS has none, nor have positions that cannot have an effect: behind the last decision point and, with "
    "the corrupted base, before the first token that differs.",
)
PAIR_EFFECTS = Table(
    "pair_effects",
    "one active feature of one pair",
    (
        _GROUP,
        *_SITE_COLUMNS,
        _FEATURE,
        _PAIR_ID,
        Column("effect", "float32", "estimated effect, summed over all positions", _METRIC),
    ),
    "Sums over every entry, whether or not attributions.parquet keeps it; stays with each group.",
)
CARRIERS = Table(
    "carriers",
    "one role or token of one feature",
    (
        _GROUP,
        *_SITE_COLUMNS,
        _FEATURE,
        Column("what", "text", "role or token"),
        Column("value", "text", "which"),
        Column("size", "float64", "sum of |effect| there, over pairs and positions", _METRIC),
    ),
    "Of every entry; stays with each group.",
)
ENTRIES = Table(
    "entries",
    "one site of one group",
    (
        _GROUP,
        *_SITE_COLUMNS,
        Column("n_entries", "int64", "active features at positions, over all pairs"),
        Column("n_kept", "int64", "those that attributions.parquet has"),
        Column("size", "float64", "sum of their |effect|", _METRIC),
        Column("size_kept", "float64", "and of those that are kept", _METRIC),
    ),
    "All other tables are sums over every entry.",
)
FEATURES = Table(
    "features",
    "one feature of one group",
    (
        _GROUP,
        *_SITE_COLUMNS,
        _FEATURE,
        Column(
            "effect_mean", "float64", "mean over pairs of the effect summed over positions, 0 where inactive", _METRIC
        ),
        *_median("effect"),
        Column("n_pairs", "int64", "distinct pairs in which it is active"),
        Column("rank", "int32", "1 is the largest |effect_mean| of the group over all sites"),
        Column("top_role", "text", "the role that carries most of |effect|"),
        Column("top_token", "text", "the token that does"),
    ),
    "5,000 features a group are kept, the largest.",
)
ACTIVE = Table(
    "active",
    "one active feature of one group",
    (
        _GROUP,
        *_SITE_COLUMNS,
        _FEATURE,
        Column("n_pairs", "int32", "pairs in which it is active"),
        Column("n_effect", "int32", "pairs in which its effect is not 0"),
    ),
    "Every feature that attributions.parquet has, so those too that features.parquet leaves out. In the last layer "
    "many have no effect: only what is at the decision point reaches the metric from there.",
)
SITE_EFFECTS = Table(
    "site_effects",
    "one pair at one site",
    (
        _GROUP,
        _PAIR_ID,
        *_SITE_COLUMNS,
        Column("features_effect", "float64", "sum of the features' estimates", _METRIC),
        Column("error_effect", "float64", "the error term's estimate", _METRIC),
        Column("total_effect", "float64", "exact: the whole site patched to its base, layers above run again", _METRIC),
        Column("reconstruction_effect", "float64", "exact: x_hat in place of x at every token but BOS", _METRIC),
        Column("l0", "float64", "active features a token, over the positions that can have an effect"),
        Column("unexplained", "float64", "fraction of variance that the SAE misses, over the same positions"),
    ),
)
METRIC_BY_POINT = Table(
    "metric_by_point",
    "one decision point of one run",
    (
        _GROUP,
        _PAIR_ID,
        Column("point", "int32", "the decision point; 1 is the pair's first (for lists: the item before it)"),
        Column("n_points", "int32", "the pair's decision points"),
        Column("run", "text", "clean or corrupted"),
        Column("metric", "float32", "the metric there", _METRIC),
    ),
)
LENS = Table(
    "lens",
    "one pair after one write into the residual stream",
    (
        _GROUP,
        _PAIR_ID,
        *_SITE_COLUMNS,
        Column("clean", "float64", "the metric read there in the clean run", _METRIC),
        Column("corrupted", "float64", "and in the corrupted run", _METRIC),
        Column("gain", "float64", "what the write adds to clean - corrupted", _METRIC),
    ),
)
ROLE_EFFECTS = Table(
    "role_effects",
    "one role of one pair at one site",
    (
        _GROUP,
        _PAIR_ID,
        *_SITE_COLUMNS,
        Column("role", "text", "the positions patched; decision: where the metric is read"),
        Column("effect", "float64", "exact: the corrupted x put in at these positions", _METRIC),
    ),
)
LAYER_SCORES = Table(
    "layer_scores",
    "one SAE on offer",
    (
        *_SITE_COLUMNS,
        Column("lens_gain", "float64", "what the site adds to the lens' clean - corrupted metric, absolute", _METRIC),
        Column("ablation_effect", "float64", "exact effects of patching each role, absolute, summed", _METRIC),
        Column("gradient_effect", "float64", "the same to first order", _METRIC),
        Column("discount", "float64", "what is left of the score after discounts"),
        Column("score", "float64", "0 to 1"),
        Column("sae_width", "int64", "features of the SAE"),
        Column("sae_bytes", "int64", "in float32", "bytes"),
        Column("chosen", "bool", "whether it is attributed"),
    ),
    "Why these were chosen is in the schema metadata (saeattr.reason). The first group's pairs decide, once.",
)
VALIDATION = Table(
    "validation",
    "one tested feature of one group",
    (
        _GROUP,
        *_SITE_COLUMNS,
        _FEATURE,
        Column("effect_mean", "float64", "the attribution that ranked it", _METRIC),
        Column("effect_median", "float64", "its median over the same pairs", _METRIC),
        Column("exact_mean", "float64", "exact effect, mean over the pairs that test it", _METRIC),
        *_median("exact"),
        Column("n_pairs", "int32", "distinct pairs that test it"),
        Column(
            "gap", "float64", "median over them of corrupted - clean metric; blank without corrupted prompts", _METRIC
        ),
        Column("share", "float64", "|exact_median| / |gap|"),
        Column("smallest", "float64", "the smallest share of interest (--smallest)"),
        Column("control_median", "float64", "median over its controls of |median exact effect|", _METRIC),
        Column("control_high", "float64", "95 % of its controls do less than this", _METRIC),
        Column("n_controls", "int32", "other features along whose directions x was moved as far, at the same tokens"),
        Column("n_as_strong", "int32", "controls whose |median exact effect| is at least the feature's"),
        Column("natural_share", "float64", "share of a sample of the site's features that do as much by themselves"),
        Column("p_value", "float64", "sign test over pairs that its median is 0"),
        Column("q_value", "float64", "Benjamini-Hochberg over all that the study tests"),
        Column(
            "verdict",
            "text",
            "causal, opposite sign, within controls, small, not shown, too few pairs or too few controls",
        ),
    ),
    "The pairs that test a feature are not among those that ranked it. natural_share is context and no part of the "
    "verdict; it is measured on the pairs that ranked.",
)
CURVES = Table(
    "curves",
    "one size of one order of features",
    (
        _GROUP,
        Column("order", "text", "attribution, exact, activation, random, controls, or all features"),
        Column("n_features", "int64", "features patched together"),
        Column("effect_mean", "float64", "exact change of the metric, mean over pairs", _METRIC),
        Column("effect_low", "float64", "lower end of its 95 % interval over pairs (Student)", _METRIC),
        Column("effect_high", "float64", "upper end", _METRIC),
        *_share("removed", "share of the clean-corrupted gap that it removes"),
        *_share("faithfulness", "what these features alone keep of what all do"),
        *_share("completeness", "what is left of it without them"),
        Column("length_ratio", "float64", "of controls: how far they move x, against the features they stand for"),
    ),
    "Measured on the pairs that test features, in orders that the other pairs gave. controls: at each site the "
    "features of the attribution order are replaced by others, and their joint change is scaled to the length of the "
    "change that the features would make there.",
)
AGREEMENT = Table(
    "agreement",
    "one site of one group",
    (
        _GROUP,
        *_SITE_COLUMNS,
        Column("n_features", "int64", "features patched: tested ones and a sample of the active ones"),
        Column("pearson", "float64", "of attributions and exact effects"),
        Column("spearman", "float64", "of their ranks"),
        Column("same_sign", "float64", "share of features whose two effects have the same sign"),
        Column("poor", "bool", "whether pearson is too low to trust attributions there"),
    ),
)
COMPARED = Table(
    "compared",
    "one patched feature of one group: the tested ones and a sample of each site's active ones",
    (
        _GROUP,
        *_SITE_COLUMNS,
        _FEATURE,
        Column("exact_mean", "float64", "exact effect, mean over the pairs that ranked", _METRIC),
        Column("tested", "bool", "whether it was tested, and not sampled only"),
        Column("effect_mean", "float64", "the attribution", _METRIC),
    ),
)
EXACT = Table(
    "exact",
    "x moved at one feature's tokens in one pair",
    (
        _GROUP,
        *_SITE_COLUMNS,
        _FEATURE,
        Column("along", "int32", "whose decoder direction: the feature's own (it is patched), or a control's"),
        Column("evidence", "text", "ranking or test: which pairs it is one of"),
        _PAIR_ID,
        Column("exact", "float64", "exact effect", _METRIC),
    ),
)
GENERATION = Table(
    "generation",
    "one measure of one condition",
    (
        _GROUP,
        *_SITE_COLUMNS,
        Column("base", "text", "what features are held at"),
        Column("condition", "text", "nothing, features, controls or steering"),
        Column("measure", "text", "items, tokens, repeated, shannon or ended"),
        Column("n_lists", "int64", "lists written"),
        Column(
            "length_ratio", "float64", "of controls: how far x was moved against how far the features would move it"
        ),
        Column("mean", "float64", "mean over lists"),
        Column("low", "float64", "lower end of its 95 % interval (Student)"),
        Column("high", "float64", "upper end"),
        Column("added", "float64", "what the condition adds to nothing, list by list"),
        Column("added_low", "float64", "lower end of its interval"),
        Column("added_high", "float64", "upper end"),
    ),
)
GENERATED = Table(
    "generated",
    "one list written under one condition",
    (
        _GROUP,
        *_SITE_COLUMNS,
        Column("base", "text", "what features are held at"),
        Column("condition", "text", "nothing, features, controls or steering"),
        Column("control_set", "int64", "which set of controls; -1 for the other conditions"),
        Column(
            "length_ratio", "float64", "of controls: how far x was moved against how far the features would move it"
        ),
        Column("list_id", "text", "the list; list n draws the same random numbers in every condition"),
        Column("seed", "int64", "its own"),
        Column("items", "int64", "complete items"),
        Column("tokens", "int64", "of the answer"),
        Column("repeated", "int64", "items named before"),
        Column("shannon", "float64", "Shannon index of the items", "nats"),
        Column("ended", "bool", "whether the model ended it"),
        Column("text", "text", "the answer"),
    ),
)
OVERLAP = Table(
    "overlap",
    "two groups at one site",
    (
        *_SITE_COLUMNS,
        Column("group_a", "text", "one group"),
        Column("group_b", "text", "the other"),
        Column("jaccard", "float64", "features in both sets / in either"),
        Column("shared", "int64", "features in both"),
        Column("expected", "float64", "mean Jaccard index by chance"),
        Column("p_value", "float64", "of so many shared features or more by chance"),
        Column("q_value", "float64", "Benjamini-Hochberg over all pairs of groups and all sites"),
    ),
    "A group's set at a site is its 30 features of largest |effect_mean|. Chance draws each set anew (1,000 times, "
    "seed 0) among all features that have an effect in that group (active.parquet), as many from each class of "
    "activity (share of pairs with an effect, in tenths) as the set holds.",
)
CHANGES = Table(
    "changes",
    "one compared feature of one group",
    (
        _GROUP,
        *_SITE_COLUMNS,
        _FEATURE,
        Column("effect_a", "float64", "its estimated effect in model A, median over pairs", _METRIC),
        Column("effect_b", "float64", "in model B", _METRIC),
        Column("change_mean", "float64", "effect in B minus effect in A, mean over pairs", _METRIC),
        *_median("change"),
        Column("activation_part", "float64", "its part of change_mean through other activations", _METRIC),
        Column("slope_part", "float64", "through another slope of the metric; both parts add up", _METRIC),
        Column("n_active", "int32", "pairs in which it has an effect in either model"),
        Column("n_pairs", "int32", "distinct pairs that both studies have"),
        Column("p_value", "float64", "sign test over pairs that the median change is 0"),
        Column("q_value", "float64", "Benjamini-Hochberg over all compared features of all groups"),
    ),
    "Features with an effect in at least half of the pairs, in either model, are compared. The effects are estimates; "
    "change_tests.parquet has exact ones.",
)
SITE_CHANGES = Table(
    "site_changes",
    "one site of one group",
    (
        _GROUP,
        *_SITE_COLUMNS,
        Column("n_features", "int64", "features compared"),
        Column("n_changed", "int64", "those with q <= 0.05"),
        Column(
            "activation_change", "float64", "|f_B - f_A| / |f_A| over the entries in either model: 0 where x is equal"
        ),
        Column("activation_part", "float64", "sum over compared features of |activation_part|", _METRIC),
        Column("slope_part", "float64", "sum over them of |slope_part|", _METRIC),
        *_share(
            "taken_back", "share of the metric's change from A to B that is undone with A's x in B here; needs --exact"
        ),
    ),
    "The first site whose activation_change is not 0 is where the models begin to differ on these pairs.",
)
CHANGE_TESTS = Table(
    "change_tests",
    "one tested feature of one group",
    (
        _GROUP,
        *_SITE_COLUMNS,
        _FEATURE,
        Column("estimate_mean", "float64", "the change_mean that ranked it, on other pairs", _METRIC),
        Column("exact_a", "float64", "exact effect in model A, median over the pairs that test", _METRIC),
        Column("exact_b", "float64", "in model B", _METRIC),
        *_median("change"),
        Column("activation_part", "float64", "median change through other activations, exact", _METRIC),
        Column("path_part", "float64", "median change with the activations of A in both: the layers above", _METRIC),
        Column("n_pairs", "int32", "distinct pairs that test it"),
        Column("gap", "float64", "median over them of corrupted - clean metric in A", _METRIC),
        Column("share", "float64", "|change_median| / |gap|"),
        Column("smallest", "float64", "the smallest share of interest"),
        Column("control_median", "float64", "median over its controls of |median change|", _METRIC),
        Column("control_high", "float64", "95 % of its controls change less than this", _METRIC),
        Column("control_activation", "float64", "largest |median activation part| of its controls", _METRIC),
        Column("n_controls", "int32", "other features along whose directions x was moved as far, in both models"),
        Column("n_as_strong", "int32", "controls whose |median change| is at least the feature's"),
        Column("p_value", "float64", "sign test over pairs that the median change is 0"),
        Column("q_value", "float64", "Benjamini-Hochberg over all that the comparison tests"),
        Column("verdict", "text", "changed, within controls, small, not shown, too few pairs or too few controls"),
    ),
)
CHANGE_EXACT = Table(
    "change_exact",
    "x moved at one feature's tokens in one pair, in both models",
    (
        _GROUP,
        *_SITE_COLUMNS,
        _FEATURE,
        Column("along", "int32", "whose decoder direction: the feature's own (it is patched), or a control's"),
        _PAIR_ID,
        Column("exact_a", "float64", "exact effect in A, moved as far as the feature's patch moves x in A", _METRIC),
        Column("exact_b", "float64", "in B, as far as its patch moves x in B", _METRIC),
        Column("exact_moved", "float64", "in B, but moved as far as in A", _METRIC),
    ),
)
FIRING = Table(
    "firing",
    "one token at which a feature fires",
    (
        Column("text", "int32", "which of the texts, from 0 on"),
        Column("position", "int32", "token index (BOS is 0, and is left out)"),
        Column("token", "text", "the token there"),
        *_SITE_COLUMNS,
        _FEATURE,
        Column("activation", "float32", "of the feature there", "activation"),
    ),
    "What ``saeattr look`` and ``study.activations`` give of texts of one's own.",
)
#: Tables of a comparison's folder; all others are of a study's.
COMPARISON = (CHANGES, SITE_CHANGES, CHANGE_TESTS, CHANGE_EXACT)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        LISTS,
        PAIRS,
        TEST_PAIRS,
        ATTRIBUTIONS,
        ENTRIES,
        PAIR_EFFECTS,
        CARRIERS,
        FEATURES,
        ACTIVE,
        SITE_EFFECTS,
        METRIC_BY_POINT,
        LENS,
        ROLE_EFFECTS,
        LAYER_SCORES,
        VALIDATION,
        CURVES,
        AGREEMENT,
        COMPARED,
        EXACT,
        GENERATION,
        GENERATED,
        OVERLAP,
        *COMPARISON,
        FIRING,
    )
}
