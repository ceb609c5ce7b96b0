"""Where the entries of sae-lens' directory read, and which are refused: against sae-lens' own configurations."""

from __future__ import annotations

import json
import re

import pytest

from saeattr.errors import UserError
from saeattr.saes.catalogue import READ_BY_LENS, pick_saes, published_saes, refused_saes, sae_directory
from saeattr.sites import Site, site_of_hook


def by_conversion(name: str) -> list[str]:
    return [release for release, value in sae_directory().items() if value.get("conversion_func") == name]


def test_every_entry_is_listed_or_refused_and_none_is_both() -> None:
    for release, value in sae_directory().items():
        listed = [sae.sae_id for sae in published_saes(release)]
        refused = refused_saes(release)
        assert sorted([*listed, *refused]) == sorted(str(info["id"]) for info in value["saes"])


@pytest.mark.parametrize("conversion", ["qwen_scope", "goodfire", "deepseek_r1"])
def test_entries_read_where_sae_lens_says(conversion: str) -> None:
    """Of these three the configuration needs no file."""
    from sae_lens.loading.pretrained_sae_loaders import NAMED_PRETRAINED_SAE_CONFIG_GETTERS

    read = NAMED_PRETRAINED_SAE_CONFIG_GETTERS[conversion]
    for release in by_conversion(conversion):
        for sae in published_saes(release):
            config = read(sae.repo, sae.path, "cpu", False, None)
            assert sae.site == site_of_hook(config["hook_name"])
            if sae.width is not None and conversion == "qwen_scope":
                assert (sae.d_sae, sae.l0) == (config["d_sae"], config["activation_fn_kwargs"]["k"])


def test_entries_that_sae_lens_reads_are_at_the_layer_of_their_neuronpedia_page() -> None:
    """Of the others one page is of another layer than the path (gemma-scope-9b-pt-res, layer_2, average_l0_8)."""
    compared = 0
    for release in sae_directory():
        for sae in published_saes(release):
            found = re.match(r"[^/]+/(\d+)-", sae.neuronpedia or "")
            if found and sae.format in READ_BY_LENS:
                compared += 1
                assert int(found[1]) == sae.site.layer, (release, sae.sae_id)
    assert compared > 800


def test_no_transcoder_passes_by_its_name() -> None:
    for release, value in sae_directory().items():
        wrong = [json.dumps(info) for info in value["saes"] if "transcoder" in str(info["path"]) or "clt" in release]
        assert len(wrong) <= len(refused_saes(release))


def test_a_release_without_a_usable_sae_is_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match=r"no SAE of gemma-scope-2b-pt-transcoders can be used here: a transcoder"):
        pick_saes(["gemma-scope-2b-pt-transcoders"])
    with pytest.raises(UserError, match=r"no SAE of temporal-sae-gemma-2-2b can be used here: a temporal SAE"):
        pick_saes(["temporal-sae-gemma-2-2b"])


@pytest.mark.parametrize(
    ("release", "width", "site", "sae_id"),
    [
        ("qwen-scope-3-1.7b-base-w32k-l50", "32k", "resid_post.3", "layer3"),
        ("llama_scope_r1_distill", "32k", "resid_post.0", "l0r_400m_slimpajama_400m_openr1_math"),
        ("goodfire-llama-3.1-8b-instruct", None, "resid_post.19", "layer_19"),
        ("gpt2-small-hook-z-kk", None, "attn_z.7", "blocks.7.hook_z"),
        ("gpt2-small-res-jb-feature-splitting", None, "resid_post.7", "blocks.8.hook_resid_pre_24576"),
        ("saebench_gemma-2-2b_width-2pow12_date-0108", "4k", "resid_post.12", "blocks.12.hook_resid_post__trainer_3"),
    ],
)
def test_releases_that_sae_lens_reads_are_found_by_site_and_width(
    release: str, width: str | None, site: str, sae_id: str
) -> None:
    kind, _, layer = site.partition(".")
    chosen = pick_saes([release], width)[Site(kind, int(layer))]  # pyright: ignore[reportArgumentType]
    assert chosen.release == release
    assert sae_id in [sae.sae_id for sae in published_saes(release) if sae.site == chosen.site]
