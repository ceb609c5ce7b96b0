"""What steering facts by their features gives."""

from __future__ import annotations

from saeattr.tables.columns import GROUP_NAME, PAIR_ID, SITE_COLUMNS
from saeattr.tables.table import Column, Table

LOGITS = "logits"

PLACE = Column("place", "text", "where x is moved: entity (all its tokens) or final (where the answer is read)")
TOWARDS = Column(
    "towards",
    "text",
    "features: the corrupted prompt's; same-relation, other-relation: another fact's; random-features: other features' "
    "directions; activation: the corrupted x itself, error term and all",
)
N_FEATURES = Column("n_features", "int32", "so many features are set, the largest |change| |W_dec| first; -1: all")
STRENGTH = Column("strength", "float64", "x becomes x + strength * move; at 1 the features have the other's values")

STEERED = Table(
    "steered",
    "one fact moved at one site and place, in one way and by one strength",
    (
        GROUP_NAME,
        PAIR_ID,
        *SITE_COLUMNS,
        PLACE,
        TOWARDS,
        N_FEATURES,
        STRENGTH,
        Column("n_moved", "int32", "features whose value changes at some token; -1: no features are set"),
        Column("length", "float64", "|move| times strength, mean over the place's tokens", "of x"),
        Column("cosine", "float64", "of the move and that of all features, mean over tokens; blank where one is 0"),
        Column("ld", "float64", "logit(clean_target) - logit(corrupt_target) of the steered run", LOGITS),
        Column("rank_clean", "int32", "place of clean_target among all tokens"),
        Column("rank_corrupt", "int32", "place of corrupt_target among all tokens"),
        Column("clean", "float64", "LD of the clean run", LOGITS),
        Column("corrupted", "float64", "LD of the corrupted run", LOGITS),
    ),
    "Every move but the activation's keeps the error term, and every control is as long as the features' own move, "
    "token by token. What counts under a control is this fact's corrupted answer, and not the control's own.",
)

RECALL_STEERING = Table(
    "recall_steering",
    "one site and place, steered in one way and by one strength, over facts",
    (
        *SITE_COLUMNS,
        PLACE,
        TOWARDS,
        N_FEATURES,
        STRENGTH,
        Column("n_facts", "int32", "facts with LD > 0 in the clean run that could be steered in this way"),
        Column("flipped", "float64", "share of them with LD < 0 when steered"),
        Column("flipped_low", "float64", "lower end of its 95 % interval (Clopper and Pearson)"),
        Column("flipped_high", "float64", "upper end"),
        Column("first", "float64", "share in which corrupt_target is the likeliest of all tokens"),
        Column("first_low", "float64", "lower end of its 95 % interval (Clopper and Pearson)"),
        Column("first_high", "float64", "upper end"),
        Column("kept", "float64", "share in which clean_target still is the likeliest of all tokens"),
        Column("share", "float64", "(clean LD - LD) / swing, mean over facts: 0 nothing moves, 1 all of the swing"),
        Column("length", "float64", "mean length of the move", "of x"),
        Column("cosine", "float64", "mean cosine of the move and that of all features"),
        Column("n_moved", "float64", "mean number of features that change; blank: none are set"),
    ),
)

ABOUT = Column("about", "text", "the statement before the question is of the fact itself (own) or of another (other)")
MOVED_TO = Column(
    "towards",
    "text",
    "true, false: the world of the statement, nothing is moved; fact, world: features moved from true to false, by the "
    "fact's own change or by the mean change of every second fact, which it is none of",
)
IN_PLACE = Column("place", "text", "context: the statement's answer; final: where the question is answered; or blank")
MOVED_BY = Column("strength", "float64", "x becomes x + strength * move; 0: nothing is moved")
OF_SITE = (Column("layer", "int16", "-1: nothing is moved"), Column("kind", "text", "resid_post, or blank"))

WORLDS = Table(
    "worlds",
    "one fact asked behind a statement, with its features moved in one way, or not",
    (
        GROUP_NAME,
        PAIR_ID,
        ABOUT,
        *OF_SITE,
        IN_PLACE,
        MOVED_TO,
        MOVED_BY,
        Column("length", "float64", "|move| times strength", "of x"),
        Column("ld", "float64", "logit(clean_target) - logit(corrupt_target)", LOGITS),
        Column("rank_clean", "int32", "place of clean_target among all tokens"),
        Column("rank_corrupt", "int32", "place of corrupt_target among all tokens"),
    ),
    "The statement is a clean prompt with clean_target (true) or corrupt_target (false) behind it.",
)
RECALL_WORLDS = Table(
    "recall_worlds",
    "one way of asking behind a statement, over facts",
    (
        ABOUT,
        *OF_SITE,
        IN_PLACE,
        MOVED_TO,
        MOVED_BY,
        Column("n_facts", "int32", "facts"),
        Column("first", "float64", "share in which corrupt_target is the likeliest of all tokens"),
        Column("first_low", "float64", "lower end of its 95 % interval (Clopper and Pearson)"),
        Column("first_high", "float64", "upper end"),
        Column("kept", "float64", "share in which clean_target is the likeliest of all tokens"),
        Column("ld", "float64", "mean LD", LOGITS),
    ),
)
