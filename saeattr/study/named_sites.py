"""The sites that settings name, out of those that have an SAE. Nothing slow is imported here."""

from __future__ import annotations

from saeattr.errors import UserError
from saeattr.settings import StudySettings
from saeattr.sites import Site, parse_site


def choose_sites(settings: StudySettings, available: list[Site]) -> list[Site]:
    """The sites that the settings name, out of those with an SAE; without any name, all of them.

    Raises:
        UserError: a named layer, kind or site has no SAE.
    """
    if settings.sites is not None:
        wanted = [parse_site(address) for address in settings.sites]
        for site in wanted:
            if site not in available:
                raise UserError(f"there is no SAE for {site}: {_offer(available)}")
        return sorted(set(wanted))
    layers, kinds = {site.layer for site in available}, {site.kind for site in available}
    named = None if settings.layers == "all" else settings.layers
    for layer in named or ():
        if layer not in layers:
            raise UserError(f"there is no SAE for layer {layer}: {_offer(available)}")
    for kind in settings.kinds or ():
        if kind not in kinds:
            raise UserError(f"there is no SAE of the kind {kind}: {_offer(available)}")
    layers = set(layers if named is None else named)
    kinds = set(kinds if settings.kinds is None else settings.kinds)
    chosen = [site for site in available if site.layer in layers and site.kind in kinds]
    if not chosen:
        raise UserError(f"no SAE is of a named kind in a named layer: {_offer(available)}")
    return sorted(chosen)


def _offer(available: list[Site]) -> str:
    """What could be named instead, in one line."""
    layers: dict[str, list[int]] = {}
    for site in sorted(available):
        layers.setdefault(site.kind, []).append(site.layer)
    listed = (f"{kind} in layers {', '.join(map(str, numbers))}" for kind, numbers in layers.items())
    return "there are SAEs for " + "; ".join(listed)
