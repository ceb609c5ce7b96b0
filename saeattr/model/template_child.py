"""A program of its own that renders chat templates, of which nothing is lost when it is stopped.

A model's folder brings its template, which is a program: it may loop for ever or build strings of gigabytes. Jinja's
sandbox keeps it from the files, not from that. ``saeattr.model.templates`` starts this file as a process and sends a
line of JSON for each rendering; a line comes back. Only jinja2 is imported, so that it starts in a tenth of a second.

The environment is that of transformers (``_compile_jinja_template``), less what draws at random.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

#: Bytes of memory that a rendering may take, and characters that it may write beside those it is given.
MEMORY, WRITTEN = 512 * 2**20, 1_000_000


def main() -> None:
    """Answer requests until there are no more; where jinja2 lies is told by the arguments."""
    sys.path[:0] = sys.argv[1:]
    _limit_memory()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def answer(request: dict[str, Any]) -> dict[str, str]:
    """``text``, or the ``error`` that the template met.

    Args:
        request: ``template``, and the ``variables`` that it is given.
    """
    try:
        text = _compiled(request["template"])(**request["variables"])
        if len(text) > WRITTEN + len(str(request["variables"])):
            return {"error": f"it writes {len(text):,} characters"}
        # Half of a surrogate pair is no text for a tokenizer.
        text.encode()
        return {"text": text}
    except MemoryError:
        return {"error": f"it needs more than {MEMORY // 2**20} MB of memory"}
    except RecursionError:
        return {"error": "it calls itself without end"}
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        own = type(error).__name__ == "TemplateError"
        return {"error": said if own else f"{type(error).__name__}: {said}"}


@lru_cache(maxsize=4)
def _compiled(template: str) -> Callable[..., str]:
    """A template as transformers compiles it."""
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import CallBlock
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """``{% generation %}``: marks what the model writes, and changes nothing of the text."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

        def _inside(self, caller: Callable[[], str]) -> str:
            return caller()

    class Names(Namespace):
        """A namespace without names that begin with an underscore."""

        def __init__(*args: Any, **kwargs: Any) -> None:
            own, *rest = args
            values = dict(*rest, **kwargs)
            for name in values:
                Names.check(name)
            Namespace.__init__(own, values)

        def __setitem__(self, name: str, value: Any) -> None:
            Names.check(name)
            Namespace.__setitem__(self, name, value)

        @staticmethod
        def check(name: Any) -> None:
            if isinstance(name, str) and name.startswith("_"):
                raise SecurityError(f"a namespace takes no name such as {name!r}")

    class Dictionary:
        """``dict`` without the attributes of the class."""

        def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            return dict(*args, **kwargs)

        def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            return dict.fromkeys(*args, **kwargs)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": refuse, "dict": Dictionary(), "namespace": Names}
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    # A prompt is the same whenever it is made.
    del environment.globals["lipsum"], environment.filters["random"]
    return environment.from_string(template).render


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Without the escapes for HTML that Jinja's own filter makes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:
        # Windows has no such limit.
        return
    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0)):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
