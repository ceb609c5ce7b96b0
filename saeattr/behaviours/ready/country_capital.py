"""Capitals: "The capital of France is" goes on with " Paris"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from saeattr.behaviours.ready.relations import WordRelation

CAPITALS = tuple(
    (line.split(": ")[0].strip(), line.split(": ")[1].strip())
    for line in """
    France: Paris
    Germany: Berlin
    Italy: Rome
    Spain: Madrid
    Portugal: Lisbon
    Ireland: Dublin
    Greece: Athens
    Austria: Vienna
    Poland: Warsaw
    Hungary: Budapest
    Romania: Bucharest
    Bulgaria: Sofia
    Serbia: Belgrade
    Croatia: Zagreb
    Norway: Oslo
    Sweden: Stockholm
    Finland: Helsinki
    Denmark: Copenhagen
    Belgium: Brussels
    Russia: Moscow
    Turkey: Ankara
    Egypt: Cairo
    Kenya: Nairobi
    Libya: Tripoli
    Iran: Tehran
    Iraq: Baghdad
    Syria: Damascus
    Lebanon: Beirut
    Jordan: Amman
    Qatar: Doha
    Afghanistan: Kabul
    China: Beijing
    Japan: Tokyo
    Taiwan: Taipei
    Thailand: Bangkok
    Vietnam: Hanoi
    Indonesia: Jakarta
    Australia: Canberra
    Canada: Ottawa
    Cuba: Havana
    Peru: Lima
    Chile: Santiago
    Venezuela: Caracas
    """.strip().splitlines()
)


class CountryCapital(WordRelation):
    """The capital of a country."""

    name = "country-capital"
    help = "capitals: the capital of a country; groups are a sentence that asks for it, and two examples"
    literature = (
        "Meng et al. 2022 (arXiv 2202.05262): MLPs of middle layers recall such facts at the subject's last token; "
        "Todd et al. 2023 (arXiv 2310.15213): after examples, few heads carry a vector for the task country to capital."
    )
    group_help: ClassVar = {
        "sentence": "The capital of France is",
        "examples": "- Italy: Rome (two examples), then - France:",
    }
    default_groups = ("sentence", "examples")
    sentences = (
        "The capital of {word} is",
        "The government of {word} sits in the city of",
        "As the capital of {word}, everybody knows",
        "A flight to {word} often lands in its capital,",
        "We went to {word} and stayed in its capital city,",
    )
    example: ClassVar = {
        "clean": "The capital of France is",
        "corrupted": "The capital of Poland is",
        "answer": " Paris",
        "wrong": " Warsaw",
        "spans": {"word": "France"},
    }

    def words(self) -> Sequence[tuple[str, str]]:
        return CAPITALS


BEHAVIOUR = CountryCapital()
