"""Chat templates rendered in a process of their own, against transformers, and those that would never end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from saeattr import UserError
from saeattr.behaviours.chat import chat_prompt, chat_text, chat_turns, conversation
from saeattr.behaviours.lists.roles import topic_positions
from saeattr.model import templates
from saeattr.model.loading import LanguageModel, load_tokenizer
from saeattr.model.templates import GEMMA_CHAT, render, template_of, written_chat
from tests.behaviours.tokenizers import FAMILIES, family_tokenizer
from tests.faults.model_damage import TEMPLATES

TURNS = [
    {"role": "user", "content": "  a short list of cities <b>&amp;'\"\n"},
    {"role": "assistant", "content": "Paris ü Lima\U0001f600"},
    {"role": "user", "content": "Oslo"},
]
#: What templates of published models do beside loops and conditions.
LIKE_PUBLISHED = {
    "namespace, loop controls and a macro": (
        "{%- set ns = namespace(first=true) -%}{%- macro turn(m) -%}"
        "<{{ m.role }}>{{ m.content | trim }}{%- endmacro -%}"
        "{%- for m in messages -%}{%- if m.role == 'system' -%}{%- continue -%}{%- endif -%}"
        "{%- if ns.first -%}{{ bos_token }}{%- set ns.first = false -%}{%- endif -%}{{ turn(m) }}{%- endfor -%}"
    ),
    "JSON, dictionaries and generation": (
        "{{ dict(a=1, b='ü') | tojson }}{{ {'x': [1, 2]} | tojson(indent=2) }}{% for m in messages %}"
        "{% generation %}{{ m['content'] }}{% endgeneration %}\n{% endfor %}{{ tools is none }}{{ documents is none }}"
    ),
    "slices, filters and today's year": (
        "{{ strftime_now('%Y') }}{{ messages[1:] | length }}{% for m in messages[::-1] %}"
        "{{ m['content'].split(' ')[-1] }}"
        "{{ m['content'] }}{% if not loop.last %}, {% endif %}{% endfor %}{{ add_generation_prompt }}"
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("answer", [True, False])
def test_a_family_is_written_as_transformers_writes_it(family: str, answer: bool) -> None:
    tokenizer = family_tokenizer(FAMILIES[family])
    assert template_of(tokenizer) not in templates._own_templates()
    wanted = tokenizer.apply_chat_template(TURNS, add_generation_prompt=answer, tokenize=False)
    assert written_chat(tokenizer, TURNS, answer) == wanted
    ids = tokenizer.apply_chat_template(TURNS, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert conversation(tokenizer, TURNS) == ids


@pytest.mark.parametrize("name", LIKE_PUBLISHED)
def test_what_published_templates_use_is_there(name: str) -> None:
    tokenizer = family_tokenizer(FAMILIES["gemma"])
    tokenizer.chat_template = LIKE_PUBLISHED[name]
    wanted = tokenizer.apply_chat_template(TURNS, add_generation_prompt=True, tokenize=False)
    assert written_chat(tokenizer, TURNS, True) == wanted


def test_templates_of_this_package_are_rendered_here(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(templates, "render", refused)
    assert chat_turns(lm.tokenizer).end_text == "<end_of_turn>"
    assert topic_positions(lm.tokenizer, "cities", "short")
    tokenizer = load_tokenizer(Path(str(lm.tokenizer.name_or_path)))
    tokenizer.chat_template = GEMMA_CHAT
    assert chat_prompt(tokenizer, "a")


#: Refused at once: they raise, write too much, or take too much memory.
RAISING = [
    name
    for name in TEMPLATES
    if name not in ("loops in loops", "digits", "wordwrap", "indent", "nothing", "null bytes")
]


@pytest.mark.parametrize("name", RAISING)
def test_a_hostile_template_is_refused_in_one_line(name: str) -> None:
    tokenizer = family_tokenizer(FAMILIES["gemma"])
    tokenizer.chat_template = TEMPLATES[name]
    with pytest.raises(
        UserError, match=r"chat template (refuses these turns \(|leaves out what the user says)"
    ) as said:
        chat_text(tokenizer, "a short list of cities")
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", ["loops in loops", "digits"])
def test_a_template_that_does_not_end_is_stopped_and_the_next_one_rendered(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "LIMIT", 2.0)
    with pytest.raises(UserError, match=r"refuses these turns \(it does not end within 2 s\)"):
        render(TEMPLATES[name], {"messages": []})
    monkeypatch.undo()
    assert render("{{ 1 + 1 }}", {}) == "2"


def test_one_process_renders_all_and_another_takes_its_place_when_it_was_killed() -> None:
    assert render("{{ 1 }}", {}) == "1"
    first = templates._started[0].process.pid
    assert render("{{ a }}", {"a": "é\n"}) == "é\n"
    assert templates._started[0].process.pid == first
    os.kill(first, signal.SIGKILL)
    # Whether it is gone already when it is asked is the system's affair.
    time.sleep(0.2)
    assert render("{{ 2 }}", {}) == "2"
    assert templates._started[0].process.pid != first


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (5, r"chat template is 5: it must be one text"),
        ({"tool_use": "x"}, r"chat template names tool_use: it must be one text \(of several, that named default\)"),
        ({"default": 5}, r"chat template names default"),
        ("x" * 600_000, r"has 600,000 characters: 500,000 are read at most"),
    ],
)
def test_a_template_that_is_no_text_is_refused(template: Any, message: str) -> None:
    tokenizer = family_tokenizer(FAMILIES["gemma"])
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=message):
        chat_prompt(tokenizer, "a")


def test_of_several_templates_the_default_is_taken_as_transformers_takes_it() -> None:
    tokenizer = family_tokenizer(FAMILIES["gemma"])
    named: Any = {"default": tokenizer.chat_template, "tool_use": "{{ 1 }}"}
    wanted = chat_text(tokenizer, "cities")
    tokenizer.chat_template = named
    assert chat_text(tokenizer, "cities") == wanted


def test_what_draws_at_random_is_not_there() -> None:
    for template in ("{{ lipsum() }}", "{{ [1, 2, 3] | random }}"):
        with pytest.raises(UserError, match="refuses these turns"):
            render(template, {})
