"""How many cases a fuzz test has, the count of those that ran, and the property that all of them share."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings

from saeattr.errors import UserError

Result = TypeVar("Result")

#: Cases that ran in this process, by test.
RAN: Counter[str] = Counter()
#: A message may repeat part of what was given, never all of it.
LONGEST_MESSAGE = 2000


def fuzz(*strategies: Any, times: float = 1) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test on ``times`` as many cases as the profile has, and count those that ran.

    The usual profile draws the same cases each time; ``--hypothesis-profile=fuzz`` draws many others (``conftest``).
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def counted(*arguments: Any, **named: Any) -> None:
            RAN[test.__name__] += 1
            test(*arguments, **named)

        profile = settings.get_current_profile_name()
        limits = settings(
            max_examples=int(settings.get_profile(profile).max_examples * times),
            deadline=None,
            derandomize=profile != "fuzz",
            database=None,
            # To explain a failure line by line takes minutes.
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
        )
        return limits(given(*strategies)(counted))

    return decorate


def unless_refused(call: Callable[[], Result]) -> Result | None:
    """What a call gives; None where it is refused in one line, as a mistake of the user is. All else is raised."""
    try:
        return call()
    except UserError as error:
        message = str(error)
        assert message.strip()
        assert len(message) <= LONGEST_MESSAGE, f"a message of {len(message)} characters: {message[:300]}"
        assert message.isprintable(), repr(message)
        return None
