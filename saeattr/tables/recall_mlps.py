"""Recalled facts: what MLPs at the final position make of the stream's summands, and what their intercepts do."""

from __future__ import annotations

from saeattr.tables.columns import LAYER
from saeattr.tables.recall import CATEGORY, FACT_ID
from saeattr.tables.table import Column, Table

MLP_LAYER = Column("layer", "int16", "of the MLP; 0 is the first")
FOLD = Column("fold", "int16", "of facts; what predicts it was fitted to the others, which share no answer with it")

RECALL_MLP_FIT = Table(
    "recall_mlp_fit",
    "one MLP, regressed on the stream's summands, and how folds were made",
    (
        MLP_LAYER,
        Column(
            "split",
            "text",
            "answers: no answer is on both sides; relations: no category is; within: answers, each category by itself",
        ),
        Column("fit", "text", "ridge or sgd"),
        Column("r2", "float64", "on held-out facts, all folds together: 1 - errors / spread; an intercept alone has 0"),
        Column("r2_low", "float64", "lower end of its 95 % interval (bootstrap over answers, or categories)"),
        Column("r2_high", "float64", "upper end"),
        Column("r2_seen", "float64", "of the fit to all facts (within: of the category), on these"),
        Column("r2_map", "float64", "the same of a whole linear map of the stream, d x d numbers; blank within"),
        Column("constant", "float64", "share of the output's squared length that the mean of the others' predicts"),
        Column("penalty", "float64", "of the fit to all facts, chosen over folds; 0: sgd; within: the median"),
        Column("alike", "float64", "mean Pearson of the heads' coefficients in each category with those of all facts"),
        Column("n_categories", "int32", "categories with enough facts for a fit of their own"),
        Column("n_facts", "int32", "facts; within: those of these categories"),
        Column("n_folds", "int16", "folds"),
        Column("n_sources", "int32", "summands: the embedding, heads, earlier MLPs"),
    ),
    "The output at the final position of each fact's clean prompt, y = sum_k w_k x_k + b in R^d: one number w_k for "
    "each summand x_k of the stream before the MLP, and a vector b. spread is about the mean of the fitted facts.",
)
RECALL_MLP_WEIGHTS = Table(
    "recall_mlp_weights",
    "one summand in the regression of one MLP",
    (
        MLP_LAYER,
        Column("category", "text", "of the facts fitted; blank: all"),
        Column("kind", "text", "embedding, head or mlp"),
        Column("source_layer", "int16", "of the summand; -1: the embedding"),
        Column("head", "int16", "query head; -1: it is none"),
        Column("weight", "float64", "w: the MLP adds w times what the summand wrote; -1 takes all of it away"),
        Column("weight_low", "float64", "lower end of its 95 % interval (bootstrap over answers); blank in a category"),
        Column("weight_high", "float64", "upper end"),
        Column("size", "float64", "w times the summand's standard deviation over facts, over the output's"),
        Column("reads", "text", "amplified or erased: the whole interval is above or below 0; else undecided"),
    ),
    "Summands of one stream vary together, so single coefficients are less certain than what they predict.",
)
RECALL_MLP_INTERCEPT = Table(
    "recall_mlp_intercept",
    "the intercept of one MLP, fitted to all folds but one",
    (
        MLP_LAYER,
        Column("category", "text", "of the facts fitted; blank: all"),
        Column("fold", "int16", "left out; -1: none"),
        Column("norm", "float64", "length of the intercept"),
        Column("cosine", "float64", "with the mean direction from entity to answer, over the facts that were fitted"),
        Column("cosine_held", "float64", "with that of the facts left out; blank where none is"),
        Column(
            "random_95", "float64", "95 % of random directions have a lower cosine with the latter (all: the former)"
        ),
        Column("above", "float64", "share of random directions with a lower cosine"),
        Column("chosen", "bool", "cosine is the largest of all layers with this category and fold"),
    ),
    "Direction: W_U[answer] - W_U[first token of the entity], through the final norm with the scale that it had.",
)
RECALL_MLP_TOKENS = Table(
    "recall_mlp_tokens",
    "one token that the intercept of one MLP, fitted to all facts, points to or away from",
    (
        MLP_LAYER,
        Column("side", "text", "towards or away"),
        Column("place", "int16", "1 is the farthest"),
        Column("token", "text", "the token"),
        Column("score", "float64", "its logit in the intercept alone behind the final norm, less the mean token's"),
        Column("answers", "int32", "facts whose answer it is"),
    ),
)
RECALL_MLP_FACTS = Table(
    "recall_mlp_facts",
    "one fact at one MLP, and what the fit was of: what a fit that had not seen it makes of it",
    (
        CATEGORY,
        FACT_ID,
        LAYER,
        Column("fitted", "text", "all: facts of all categories; relation: those of its own"),
        FOLD,
        Column("answer", "text", "the right answer's token"),
        Column("error", "float64", "squared error of the predicted output"),
        Column("spread", "float64", "squared distance of the output from the others' mean"),
        Column("entity_before", "int32", "lens rank of the entity's first token before the MLP; 1 is first"),
        Column("entity_after", "int32", "with the intercept added, fitted without this fold"),
        Column("entity_random", "int32", "with a random direction of the same length added"),
        Column("entity_mlp", "int32", "with all of the MLP's output added"),
        Column("answer_before", "int32", "lens rank of the right answer before the MLP"),
        Column("answer_after", "int32", "with the intercept added"),
        Column("answer_random", "int32", "with the random direction added"),
        Column("answer_mlp", "int32", "with all of the MLP's output added"),
    ),
    "Lens ranks: the stream goes straight to the final norm and the unembedding (docs/reading.md).",
)

RECALL_MLPS = (RECALL_MLP_FIT, RECALL_MLP_WEIGHTS, RECALL_MLP_INTERCEPT, RECALL_MLP_TOKENS, RECALL_MLP_FACTS)
