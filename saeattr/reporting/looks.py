"""What terminal and page share of a look at texts: each feature's line, and how strongly it fires at each token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from saeattr.errors import UserError
from saeattr.features.texts import Look, ReadText
from saeattr.files import write_table, write_text
from saeattr.neuronpedia.links import read_links
from saeattr.reporting.figures.firing import feature_picture
from saeattr.reporting.figures.style import NEWLINE_SIGN, TAB_SIGN, label_texts, save_figure
from saeattr.sites import Site
from saeattr.study.folder import StudyFolder
from saeattr.tables import address, features_of

#: Said with every look.
NOTE = "every token but BOS; the shade is the activation as a share of the feature's largest in these texts"


@dataclass(frozen=True)
class FeatureLine:
    """One feature in one text.

    Attributes:
        tokens: those of the text from its start on, as they are shown.
        activations: one for each; shares: of the feature's largest activation in all texts.
    """

    address: str
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    shares: tuple[float, ...]

    @property
    def summary(self) -> str:
        """``fires at 3 of 12 tokens, largest 4.21``."""
        firing = sum(value > 0 for value in self.activations)
        if not firing:
            return "does not fire"
        return f"fires at {firing} of {len(self.tokens)} tokens, largest {max(self.activations):.3g}"


def feature_lines(look: Look, number: int) -> Iterator[FeatureLine]:
    """The line of each feature in one of the texts, features in their order."""
    text = look.texts[number]
    found: dict[tuple[Site, int], dict[int, float]] = {}
    largest: dict[tuple[Site, int], float] = {}
    keys = features_of(look.table)
    values = look.table[["text", "position", "activation"]].itertuples(index=False, name=None)
    for key, (of_text, position, activation) in zip(keys, values, strict=True):
        largest[key] = max(largest.get(key, 0.0), float(activation))
        if of_text == number:
            found.setdefault(key, {})[int(position)] = float(activation)
    positions = range(text.start, len(text.ids))
    tokens = shown_tokens(text)
    for key in look.features:
        own = [found.get(key, {}).get(position, 0.0) for position in positions]
        shares = [value / largest[key] if value else 0.0 for value in own]
        yield FeatureLine(address(*key), tokens, tuple(own), tuple(shares))


def shown_tokens(text: ReadText) -> tuple[str, ...]:
    """The tokens that are looked at, without characters that a terminal would obey or a reader not see."""
    return tuple(_shown(token) for token in text.tokens[text.start :])


def _shown(token: str) -> str:
    marked = token.replace("\n", f"{NEWLINE_SIGN}\n").replace("\t", TAB_SIGN)
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in marked)


def write_firing(look: Look, path: Path) -> Path:
    """Write the table as CSV or Parquet, by the name's ending, whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    if path.suffix == ".parquet":
        write_table(path, look.table)
    else:
        write_text(path, look.table.to_csv(index=False))
    return path


def write_pictures(look: Look, path: Path, study: Path | None = None) -> list[Path]:
    """Draw each feature as PNG and SVG: at ``path`` where there is one, else at ``NAME-KIND.LAYER-FEATURE.png``.

    Args:
        study: whose neuronpedia.json has labels.

    Raises:
        UserError: no feature is there, the disk is full or the folder cannot be written.
    """
    if not look.features:
        raise UserError("no feature fires in these texts, so there is nothing to draw: name one with --features")
    labels = {} if study is None else label_texts(read_links(StudyFolder(study)).labels)
    written = []
    for feature in look.features:
        name = path.stem if len(look.features) == 1 else f"{path.stem}-{feature[0]}-{feature[1]}"
        save_figure(feature_picture(look, feature, labels.get(address(*feature), "")), path.parent, name)
        written.append(path.with_name(f"{name}.png"))
    return written
