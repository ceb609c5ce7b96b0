"""Columns that several tables share."""

from __future__ import annotations

from saeattr.tables.table import Column

GROUP_NAME = Column("group", "text", "the group of pairs: a topic of lists, a relation of facts")
PAIR_ID = Column("pair_id", "text", "the pair, unique within its group")
LAYER = Column("layer", "int16", "0 is the first")
KIND = Column("kind", "text", "resid_post, attn_z or mlp_out")
FEATURE_INDEX = Column("feature", "int32", "index into the site's SAE")
SITE_COLUMNS = (LAYER, KIND)
METRIC = "metric"


def median_columns(name: str) -> tuple[Column, ...]:
    """The median of what ``NAME_mean`` is the mean of, with both ends of its interval."""
    return (
        Column(f"{name}_median", "float64", "its median over distinct pairs", METRIC),
        Column(f"{name}_low", "float64", "lower end of the median's 95 % interval (order statistics)", METRIC),
        Column(f"{name}_high", "float64", "upper end; both blank with fewer than six pairs", METRIC),
    )


def share_columns(name: str, meaning: str) -> tuple[Column, ...]:
    return (
        Column(name, "float64", meaning),
        Column(f"{name}_low", "float64", "lower end of its 95 % interval over pairs (Student)"),
        Column(f"{name}_high", "float64", "upper end"),
    )
