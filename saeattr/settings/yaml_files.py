"""A YAML file of settings: a plain mapping, small, without anything that is more than it looks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from saeattr.errors import UserError

#: Bytes of a file; every setting there is takes a hundredth.
LARGEST = 2**18
#: What PyYAML raises at a value that is not what its tag says, such as a day that no month has, and at ten thousand
#: brackets.
FAULTS = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)


class _PlainLoader(yaml.SafeLoader):
    """YAML in which a name stands once (the plain loader lets the last one win without a word) and is written out.

    A few lines of aliases of aliases are a billion values.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise UserError(f"{self.name} has an alias (*{self.peek_event().anchor}): write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, times in names.items():
            if times > 1:
                raise UserError(f"{name!r} is given twice in {self.name}: give it once")
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> dict[str, Any]:
    """The fields of a YAML file.

    Raises:
        UserError: it cannot be read, is no mapping, is too large, has an alias, or a name stands twice in it.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise UserError(f"{path} is larger than {LARGEST // 1024} KiB, so it is no file of settings")
        loader = _PlainLoader(text.decode("utf-8-sig"))
        loader.name = str(path)
        fields = loader.get_single_data()
        if isinstance(fields, dict):
            return {str(name): value for name, value in fields.items()}
    except RecursionError as error:
        raise UserError(f"the settings in {path} cannot be read: too many brackets in brackets") from error
    except (OSError, *FAULTS) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"the settings in {path} cannot be read: {reason}") from error
    raise UserError(f"{path} is not a mapping of settings: write lines such as lists: 10")
