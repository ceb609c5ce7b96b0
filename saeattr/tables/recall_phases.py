"""Recalled facts layer by layer: what the stream would answer, layers patched together, and the phases read of both."""

from __future__ import annotations

from saeattr.tables.columns import GROUP_NAME, LAYER, PAIR_ID
from saeattr.tables.recall import CATEGORY, COMPONENT, DIRECTION, FACT_ID, LOGITS, PATCHED
from saeattr.tables.table import Column, Table

FIRST = Column("first_layer", "int16", "first layer of the window")
LAST = Column("last_layer", "int16", "its last layer; the same as the first: one layer alone")
N_FACTS = Column("n_facts", "int32", "facts")


def _with_ends(name: str, meaning: str, unit: str = "") -> tuple[Column, ...]:
    """A number and its 95 % interval."""
    return (
        Column(name, "float64", meaning, unit),
        Column(f"{name}_low", "float64", "lower end of its 95 % interval over facts", unit),
        Column(f"{name}_high", "float64", "upper end", unit),
    )


ANSWER_LENS = Table(
    "answer_lens",
    "one place of one prompt at one depth: what the model would answer if its layers ended there",
    (
        GROUP_NAME,
        PAIR_ID,
        Column("run", "text", "clean or corrupted: which prompt was read"),
        Column("place", "text", "entity-last: the entity's last token; behind: the token behind it; final: the last"),
        Column("position", "int32", "of the token; BOS is 0"),
        Column("component", "text", "resid_pre (before layer 0), resid_mid (behind a layer's attention) or resid_post"),
        LAYER,
        Column("log_p_clean", "float64", "log P(clean_target), over the whole vocabulary", "nats"),
        Column("log_p_corrupt", "float64", "log P(corrupt_target)", "nats"),
        Column("log_p_entity", "float64", "log P of the likeliest of the entity's own tokens in this prompt", "nats"),
        Column("rank_clean", "int32", "place of clean_target among all tokens, 1 the first"),
        Column("rank_corrupt", "int32", "place of corrupt_target"),
        Column("rank_entity", "int32", "place of the likeliest of the entity's own tokens"),
    ),
    "The logit lens: the stream goes straight through the final norm and the unembedding. After the last layer and at "
    "the final position it is the model's own answer.",
)
WINDOW_PATCHES = Table(
    "window_patches",
    "one fact with a component of one layer, or of several layers at once, put into the other run",
    (
        GROUP_NAME,
        PAIR_ID,
        DIRECTION,
        COMPONENT,
        PATCHED,
        FIRST,
        LAST,
        Column("effect", "float64", "LD of the patched run - LD of the run it was put into", LOGITS),
        Column("clean", "float64", "LD after the clean prompt", LOGITS),
        Column("corrupted", "float64", "LD after the corrupted prompt", LOGITS),
    ),
    "Layers patched together each have the other run's value, whatever the layers before them would have made of it.",
)

RECALL_PHASES = Table(
    "recall_phases",
    "one phase of recall in one direction: the layers that hold most of its mean share of the swing",
    (
        Column("phase", "text", "read (resid_pre, entity), retrieved (mlp_out, entity), moved or written (final)"),
        DIRECTION,
        COMPONENT,
        PATCHED,
        *_with_ends("carried", "sum over layers of the mean share of the swing, counted where it is positive"),
        *_with_ends("begin", "first layer of the shortest run of layers that holds 80 % of that sum", "layers"),
        *_with_ends("end", "its last layer", "layers"),
        *_with_ends("centre", "mean layer, each layer weighted by its part of the sum", "layers"),
        *_with_ends("depth_begin", "begin / number of layers"),
        *_with_ends("depth_end", "(end + 1) / number of layers"),
        *_with_ends("depth_centre", "(centre + 1/2) / number of layers"),
        Column("n_layers", "int16", "layers of the model"),
        N_FACTS,
    ),
    "Means over facts come first, then the range. Intervals: bootstrap over facts, 2,000 draws, percentiles. Where "
    "carried is small a phase has little to place, and its layers mean little.",
)
RECALL_CONCENTRATION = Table(
    "recall_concentration",
    "one component at one place: over how many layers its mean share of the swing is spread",
    (
        DIRECTION,
        COMPONENT,
        PATCHED,
        *_with_ends("carried", "sum over layers of the mean share of the swing, counted where it is positive"),
        *_with_ends("fewest", "smallest set of layers, side by side or not, that holds 80 % of that sum", "layers"),
        *_with_ends("largest", "part of the sum that the largest layer has"),
        Column("n_layers", "int16", "layers of the model"),
        N_FACTS,
    ),
)
RECALL_ORDERS = Table(
    "recall_orders",
    "two phases: does the one lie before the other?",
    (
        DIRECTION,
        Column("earlier", "text", "the phase that is to come first"),
        Column("later", "text", "the phase that is to come after it"),
        *_with_ends("difference", "centre of the later phase - centre of the earlier one", "layers"),
        Column("probability", "float64", "share of bootstrap draws in which it is above 0; equal ones count half"),
        Column("carried", "float64", "the smaller of what both phases carry; see recall_phases"),
        N_FACTS,
    ),
)
RECALL_ANSWERS = Table(
    "recall_answers",
    "one fact: in which layer the final position begins to answer, by the logit lens",
    (
        CATEGORY,
        FACT_ID,
        Column("n_layers", "int16", "layers of the model"),
        Column("p_final", "float64", "P(clean_target) after the last layer: the model's own"),
        Column("jump_layer", "int16", "the layer that raises P(clean_target) most"),
        Column("jump", "float64", "by how much"),
        Column("half_layer", "int16", "first layer behind which P(clean_target) is at least half of p_final"),
        Column("top_layer", "int16", "first layer from which clean_target comes first to the end; -1: none"),
        Column("outranks_layer", "int16", "first from which it outranks the entity's tokens to the end; -1: none"),
    ),
    "Of the clean prompt; P before layer 0 counts as what its first layer starts from.",
)
RECALL_JOINT = Table(
    "recall_joint",
    "layers next to each other patched together, against the sum of what each does alone",
    (
        DIRECTION,
        COMPONENT,
        PATCHED,
        FIRST,
        LAST,
        Column("n_together", "int16", "layers in the window"),
        *_with_ends("joint", "mean share of the swing that the window moves"),
        *_with_ends("summed", "mean over facts of the sum of its layers' shares, each patched alone"),
        *_with_ends("ratio", "joint / summed, of means"),
        *_with_ends("excess", "joint - summed: above 0 layers make up for each other, below 0 they do the same again"),
        N_FACTS,
    ),
    "Intervals: Student's over facts; that of the ratio by its linearisation. Where summed is near 0 the ratio has no "
    "meaning and the excess has. Attention of all layers at the final position moves all of the swing by construction: "
    "nothing else can differ there.",
)
DEPTH = Column("depth", "float64", "layer / number of layers: 0 before the first layer, 1 behind the last")
RECALL_COMPARED_CURVES = Table(
    "recall_compared_curves",
    "two models' mean curves at one depth",
    (
        DIRECTION,
        COMPONENT,
        PATCHED,
        DEPTH,
        *_with_ends("share_a", "mean share of the swing in A"),
        *_with_ends("share_b", "in B"),
        *_with_ends("difference", "share_b - share_a"),
        Column("n_a", "int32", "facts of A"),
        Column("n_b", "int32", "facts of B"),
        Column("n_shared", "int32", "facts of both"),
    ),
    "Before layer l the depth is l / number of layers, behind the last it is 1; between layers each fact's curve is a "
    "straight line. Bootstrap over facts, as in recall_compared.",
)
RECALL_COMPARED = Table(
    "recall_compared",
    "one number of two recall studies beside each other",
    (
        Column("measure", "text", "what is measured"),
        Column("of", "text", "of which phase, curve or component; blank: of the whole"),
        *_with_ends("a", "in A"),
        *_with_ends("b", "in B"),
        *_with_ends("difference", "b - a"),
        Column("unit", "text", "of a, b and their difference"),
        Column("n_a", "int32", "facts of A"),
        Column("n_b", "int32", "facts of B"),
        Column("n_shared", "int32", "facts of both"),
    ),
    "Bootstrap over the facts of both, 2,000 draws: a fact that both have is drawn for both at once.",
)
