"""Damaged and hostile copies of model folders, by a family and a name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.faults.damage import (
    GONE,
    PLACES,
    SPOILT,
    Damage,
    cut,
    drop,
    fields,
    flip,
    header,
    in_its_place,
    remove,
    rename,
    replaced,
    several,
    spoil,
    tensors,
    write,
)

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FILES = (WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
#: Named by what is read of a model's folder, if it is there.
BESIDE = ("generation_config.json", "special_tokens_map.json", "added_tokens.json", INDEX, "adapter_config.json")
BESIDE += ("checksums.json", "tokenizer.model", "vocab.json", "merges.txt", "processor_config.json")

#: One tensor of each kind in each family.
TENSORS = {
    "gemma1": ("model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.weight", "model.norm.weight"),
    "gemma2": (
        *("model.embed_tokens.weight", "model.layers.2.post_feedforward_layernorm.weight"),
        *("model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.k_proj.weight", "model.norm.weight"),
    ),
    "gemma3": ("model.layers.1.self_attn.q_norm.weight", "model.layers.2.mlp.down_proj.weight"),
    "llama": ("lm_head.weight", "model.layers.0.self_attn.v_proj.weight", "model.layers.2.input_layernorm.weight"),
    "gpt2": ("transformer.wpe.weight", "transformer.h.1.attn.c_attn.bias", "transformer.h.0.mlp.c_fc.weight"),
}

#: What may stand in a field in place of its value.
ODD: dict[str, Any] = {
    "deleted": GONE,
    "null": None,
    "text": "wide",
    "number as text": "3",
    "negative": -3,
    "zero": 0,
    "fraction": 2.5,
    "huge": 10**9,
    "true": True,
    "list": [1, 2],
    "object": {"a": 1},
    "NaN": float("nan"),
    "infinite": float("inf"),
    "no": "no",
}
#: Values of a field which are the folder's own word, however odd: another number of that kind is no damage to be seen.
PLAUSIBLE = {
    "attention_bias": ("deleted",),
    "attention_dropout": tuple(ODD),
    "initializer_range": tuple(ODD),
    "use_cache": tuple(ODD),
    "transformers_version": tuple(ODD),
    "dtype": ("deleted", "null"),
    "architectures": ("deleted", "null"),
}


def weights_cases(family: str) -> Iterator[tuple[str, Damage]]:
    for name in TENSORS[family]:
        yield f"without {name}", drop(WEIGHTS, name)
        yield f"{name} renamed", rename(WEIGHTS, name, name.replace("weight", "wieght") + "_")
        for how in SPOILT:
            yield f"{name} {how}", spoil(WEIGHTS, name, how)
        yield (
            f"{name} all zeros, of another model",
            tensors(WEIGHTS, lambda held, n=name: held.update({n: held[n][:1]})),
        )
    for keep in (0, 1, 7, 8, 9, 100, 0.1, 0.5, 0.9, 0.999, -1):
        yield f"weights cut at {keep}", cut(WEIGHTS, keep)
    for at in (0, 3, 7, 8, 9, 20, 40, 100, 200, 400, 800):
        yield f"weights flipped at {at}", flip(WEIGHTS, at)
    for length in (2**63, 2**40, 10**8, 2):
        yield f"header of {length} bytes", lambda folder, n=length: _length(folder / WEIGHTS, n)
    yield "nested header", write(WEIGHTS, (200_000).to_bytes(8, "little") + b"[" * 200_000)
    yield "header says another shape", header(WEIGHTS, lambda h: h[TENSORS[family][0]].update(shape=[1, 2, 3]))
    yield "header says a shape of 10**18", header(WEIGHTS, lambda h: h[TENSORS[family][0]].update(shape=[10**9, 10**9]))
    yield "header says negative", header(WEIGHTS, lambda h: h[TENSORS[family][0]].update(shape=[-1, 32]))
    yield "header says another type", header(WEIGHTS, lambda h: h[TENSORS[family][0]].update(dtype="I32"))
    yield "header says unknown type", header(WEIGHTS, lambda h: h[TENSORS[family][0]].update(dtype="X9"))
    yield "header overlaps", header(WEIGHTS, _overlap)
    yield "header twice", header(WEIGHTS, lambda h: json.dumps(h)[:-1] + "," + json.dumps(h)[1:])
    yield (
        "bytes behind the end",
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"x" * 9),
    )
    yield "a layer more than config.json says", tensors(WEIGHTS, lambda held: held.update(_layer_more(held)))


def _length(path: Path, length: int) -> None:
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])


def _overlap(whole: dict[str, Any]) -> None:
    first, second = [name for name in whole if name != "__metadata__"][:2]
    whole[second]["data_offsets"] = whole[first]["data_offsets"]


def _layer_more(held: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.replace(".2.", ".3."): value.clone()
        for name, value in held.items()
        if ".layers.2." in name or ".h.2." in name
    }


def index_cases() -> Iterator[tuple[str, Damage]]:
    """Shards and what the index says of them."""
    yield "shards", shards
    yield "a shard missing", several(shards, remove("model-2.safetensors"))
    yield "a shard that lacks a tensor", several(shards, drop("model-2.safetensors", "model.norm.weight"))
    yield (
        "the index lacks a tensor",
        several(shards, lambda f: _index(f, lambda m: m.pop("model.norm.weight") and None)),
    )
    yield (
        "the index names the wrong shard",
        several(shards, lambda f: _index(f, lambda m: m.update({"model.norm.weight": "model-1.safetensors"}))),
    )
    yield (
        "the index lacks a shard",
        several(
            shards, lambda f: _index(f, lambda m: [m.pop(k) for k in list(m) if m[k] == "model-2.safetensors"] and None)
        ),
    )
    for name in ("../outside.safetensors", "model-2.bin", "model-2.pt", "sub/../../outside.safetensors", ""):
        yield (
            f"the index names {name!r}",
            several(shards, beside(name), lambda f, n=name: _index(f, lambda m: m.update({"model.norm.weight": n}))),
        )
    yield (
        "the index names an absolute path",
        several(
            shards,
            beside("../outside.safetensors"),
            lambda f: _index(f, lambda m: m.update({"model.norm.weight": str(f.parent / "outside.safetensors")})),
        ),
    )
    for value in (None, 5, [], {"a": 1}):
        yield (
            f"the index names {value}",
            several(shards, lambda f, v=value: _index(f, lambda m: m.update({"model.norm.weight": v}))),
        )
    yield "the index alone is pickled", several(pickled, remove(WEIGHTS))
    yield "pickled beside", pickled_beside
    yield "pickled named safetensors", lambda f: (f / WEIGHTS).write_bytes(evil(f))
    yield "weights twice", several(twice)
    yield "a tensor in two shards", several(shards, _in_two)
    for what in ("[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": 5}', "x", "", "[" * 100_000):
        yield f"index {what[:20]!r}", several(shards, write(INDEX, what))
    for what in PLACES:
        yield f"index {what}", several(shards, in_its_place(INDEX, what))
        yield f"shard {what}", several(shards, in_its_place("model-2.safetensors", what))
    yield (
        "config.json names pickled weights",
        several(
            lambda f: (f / "adapter_model.bin").write_bytes(evil(f)),
            fields("config.json", transformers_weights="adapter_model.bin"),
        ),
    )
    yield (
        "config.json names weights outside",
        several(beside("../outside.safetensors"), fields("config.json", transformers_weights="../outside.safetensors")),
    )
    yield (
        "config.json names other weights",
        several(
            lambda f: _other_weights(f, "other.safetensors"),
            fields("config.json", transformers_weights="other.safetensors"),
        ),
    )
    yield "an adapter beside", fields("adapter_config.json", base_model_name_or_path="/nowhere", peft_type="LORA")


def shards(folder: Path) -> None:
    held = load_file(folder / WEIGHTS)
    names = sorted(held)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    if "model.norm.weight" not in parts["model-2.safetensors"]:
        parts = {"model-1.safetensors": names[1::2], "model-2.safetensors": names[::2]}
    for file, own in parts.items():
        save_file({name: held[name] for name in own}, folder / file, metadata={"format": "pt"})
    (folder / WEIGHTS).unlink()
    named = {name: file for file, own in parts.items() for name in own}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": named}), encoding="utf-8")


def _index(folder: Path, change: Any) -> None:
    whole = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    change(whole["weight_map"])
    (folder / INDEX).write_text(json.dumps(whole), encoding="utf-8")


def beside(name: str) -> Damage:
    """Weights at a path that the index should not name: other numbers, or a pickle."""

    def damage(folder: Path) -> None:
        if name.endswith(".safetensors"):
            (folder / "sub").mkdir(exist_ok=True)
            norm = torch.full((32,), 9.0)
            save_file({"model.norm.weight": norm}, folder / name, metadata={"format": "pt"})
        elif name:
            (folder / name).write_bytes(evil(folder))

    return damage


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (str(self.mark), "w")


def evil(folder: Path) -> bytes:
    """A pickle that leaves a mark when it is read."""
    return pickle.dumps(Evil(folder / "mark"))


def pickled(folder: Path) -> None:
    (folder / "model.bin").write_bytes(evil(folder))
    (folder / "stray.safetensors").write_bytes((folder / WEIGHTS).read_bytes())
    names = dict.fromkeys(load_file(folder / WEIGHTS), "model.bin")
    (folder / INDEX).write_text(json.dumps({"weight_map": names}), encoding="utf-8")


def pickled_beside(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(evil(folder))
    (folder / "model.safetensors").rename(folder / "stray.safetensors")


def twice(folder: Path) -> None:
    """Whole weights, and shards of other numbers beside them."""
    whole = (folder / WEIGHTS).read_bytes()
    tensors(WEIGHTS, lambda held: held.update({name: value * 2 for name, value in held.items()}))(folder)
    shards(folder)
    (folder / WEIGHTS).write_bytes(whole)


def _in_two(folder: Path) -> None:
    held = load_file(folder / "model-1.safetensors")
    held["model.norm.weight"] = torch.full((32,), 9.0)
    save_file(held, folder / "model-1.safetensors", metadata={"format": "pt"})


def _other_weights(folder: Path, name: str) -> None:
    held = {key: value * 2 for key, value in load_file(folder / WEIGHTS).items()}
    save_file(held, folder / name, metadata={"format": "pt"})


def config_cases(family: str, config: dict[str, Any]) -> Iterator[tuple[str, Damage]]:
    for field in config:
        for how, value in ODD.items():
            yield f"{field} {how}", fields("config.json", **{field: value})
    for nested in ("rope_type", "rope_theta", "factor"):
        for how, value in ODD.items():
            if "rope_parameters" in config:
                yield f"rope {nested} {how}", fields("config.json", **{f"rope_parameters__{nested}": value})
    for name, value in {
        "rope_type that is none": {"rope_type": "spiral"},
        "linear without factor": {"rope_type": "linear", "rope_theta": 1e4},
        "yarn without anything": {"rope_type": "yarn"},
    }.items():
        yield f"rope {name}", fields("config.json", rope_parameters=value)
    for what in (
        "",
        "x",
        "[]",
        "5",
        "null",
        "{}",
        '{"model_type": 5}',
        "[" * 100_000,
        "\ufeff{}",
        '{"model_type": "t5"}',
    ):
        yield f"config.json {what[:20]!r}", write("config.json", what)
    yield "config.json not UTF-8", write("config.json", b'{"model_type": "\xff\xfe"}')
    yield (
        "config.json a field twice",
        replaced(
            "config.json",
            "{",
            '{"num_hidden_layers": 2, "vocab_size": 64, ',
        ),
    )
    yield "config.json 20 MB", fields("config.json", note="x" * 20_000_000)
    yield "a number of 5,000 digits", replaced("config.json", '"vocab_size": ', '"vocab_size": ' + "6" * 5000)
    for model in ("llama", "gpt2", "gemma", "gemma2", "mistral", "t5", "bert", "clip", "mamba", "auto", "../../x", ""):
        yield f"model_type {model!r}", fields("config.json", model_type=model)
    for names in (["T5ForConditionalGeneration"], ["Nothing"], [5], "LlamaForCausalLM", [], ["../x"], ["LlamaModel"]):
        yield f"architectures {names}", fields("config.json", architectures=names)
    for quantized in ({}, {"quant_method": "gptq"}, {"quant_method": "fp8"}, {"quant_method": 5}, 5, "bitsandbytes"):
        yield f"quantization_config {quantized}", fields("config.json", quantization_config=quantized)
    for attention in ("flash_attention_2", "sdpa", "kernels-community/flash-attn", 5, "../x"):
        yield f"attn_implementation {attention}", fields("config.json", attn_implementation=attention)
        yield f"_attn_implementation {attention}", fields("config.json", _attn_implementation=attention)
    for mapped in (
        {"AutoConfig": "planted.Planted"},
        {"AutoModelForCausalLM": "planted.Planted"},
        "planted.Planted",
        5,
    ):
        yield f"auto_map {mapped}", several(planted, fields("config.json", auto_map=mapped))
        yield (
            f"auto_map {mapped} of an unknown type",
            several(planted, fields("config.json", auto_map=mapped, model_type="planted")),
        )
    yield "hub's name as path", fields("config.json", _name_or_path="org/other")
    yield (
        "layer_types of another",
        fields("config.json", layer_types=["sliding_attention", "chunked", "full_attention"]),
    )
    yield "layer_types of numbers", fields("config.json", layer_types=[1, 2, 3])
    yield "text_config beside", fields("config.json", text_config={"hidden_size": 64})
    yield "torch_dtype odd", fields("config.json", torch_dtype="int8")
    yield "dtype a function", fields("config.json", dtype="load")
    yield "tied the other way", fields("config.json", tie_word_embeddings=not config.get("tie_word_embeddings", True))


def planted(folder: Path) -> None:
    """Code that leaves a mark when it is imported."""
    code = f"open({str(folder / 'mark')!r}, 'w')\nclass Planted: pass\n"
    (folder / "planted.py").write_text(code, encoding="utf-8")


TEMPLATES = {
    "syntax": "{% for %}",
    "raises": "{{ raise_exception('no') }}",
    "undefined": "{{ nothing.there }}",
    "type": "{{ 1 + 'a' }}",
    "zero": "{{ 1 // 0 }}",
    "long loop": "{% for i in range(10**12) %}{% endfor %}",
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "gigabytes": "{{ 'a' * 10**11 }}",
    "3 GB": "{{ ('a' * 3 * 10**9)|length }}",
    "50 MB": "{{ 'a' * 5 * 10**7 }}",
    "power": "{{ 9 ** 9 ** 9 ** 9 }}",
    "digits": "{{ 7 ** (10 ** 7) }}",
    "macro without end": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "doubling": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "nothing": "",
    "blank": "{# nothing #}",
    "constant": "hello",
    "forbidden": "{{ ''.__class__.__mro__ }}",
    "open": "{{ self.__init__.__globals__['open']('/etc/passwd').read() }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('touch mark').read() }}",
    "lipsum": "{{ lipsum(n=100000) }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "deep": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "many ifs": "{% if x %}" * 3000 + "{% endif %}" * 3000,
    "surrogate": "{{ '\\ud800' }}{{ messages[0]['content'] }}",
    "null bytes": "\x00{{ messages[0]['content'] }}",
    "format": "{{ '%1000000000s' % 'a' }}",
    "formatted": "{{ '{:>2000000000}'.format('a') }}",
    "joined": "{{ (range(99999)|list|join('x' * 99999))|length }}",
    "sorted": "{{ (range(99999)|map('string')|list * 9999)|sort|length }}",
    "batch": "{{ range(99999)|batch(10**9, 'x')|list }}",
    "wordwrap": "{{ ('a ' * 10**7)|wordwrap(1) }}",
    "indent": "{{ ('a\\n' * 10**6)|indent(10**4) }}",
    "center": "{{ 'a'|center(10**10) }}",
    "role refused": "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no') }}{% endif %}",
    "only once": "{{ messages|length }}",
}


def template_cases() -> Iterator[tuple[str, Damage]]:
    for name, template in TEMPLATES.items():
        yield f"template {name}", write("chat_template.jinja", template)
    for name in ("long loop", "loops in loops", "gigabytes", "raises", "nothing"):
        yield (
            f"template in tokenizer_config.json {name}",
            several(remove("chat_template.jinja"), fields("tokenizer_config.json", chat_template=TEMPLATES[name])),
        )
    for value in (5, [], {}, True, [{"name": "default", "template": "x"}], [{"name": "a"}], ["x"], {"default": 5}):
        yield (
            f"chat_template {value}",
            several(remove("chat_template.jinja"), fields("tokenizer_config.json", chat_template=value)),
        )
    yield "template not UTF-8", write("chat_template.jinja", b"\xff\xfe\x00")
    yield "template of 30 MB", write("chat_template.jinja", "{{ bos_token }}" * 2_000_000)
    yield "templates beside", write("additional_chat_templates/rag.jinja", "{{ 1 }}")
    yield "no template", remove("chat_template.jinja")


def tokenizer_cases(whole: dict[str, Any]) -> Iterator[tuple[str, Damage]]:
    name = "tokenizer.json"
    for what in ("", "{}", "[]", "5", "x", "[" * 100_000, '{"model": 5}', '{"version": "1.0"}'):
        yield f"tokenizer.json {what[:20]!r}", write(name, what)
    for keep in (1, 100, 0.5, 0.99, -1):
        yield f"tokenizer.json cut at {keep}", cut(name, keep)
    for at in (0, 10, 0.2, 0.5, 0.9):
        yield f"tokenizer.json flipped at {at}", flip(name, at)
    for field in whole:
        for how in ("deleted", "null", "text", "negative", "list", "object"):
            yield f"tokenizer.json {field} {how}", fields(name, **{field: ODD[how]})
    for field in whole["model"]:
        for how in ("deleted", "null", "text", "negative", "list", "object"):
            yield f"tokenizer.json model {field} {how}", fields(name, **{f"model__{field}": ODD[how]})
    yield (
        "vocabulary of huge ids",
        fields(name, model__vocab={k: v + 10**6 for k, v in whole["model"]["vocab"].items()}),
    )
    yield (
        "vocabulary beyond 32 bits",
        fields(name, model__vocab={k: v + 2**33 for k, v in whole["model"]["vocab"].items()}),
    )
    yield "vocabulary of one id", fields(name, model__vocab=dict.fromkeys(whole["model"]["vocab"], 7))
    yield "vocabulary of text", fields(name, model__vocab={k: str(v) for k, v in whole["model"]["vocab"].items()})
    yield "vocabulary of one", fields(name, model__vocab={"a": 0})
    yield (
        "special token of a huge id",
        fields(name, added_tokens=[{**token, "id": 10**6 + token["id"]} for token in whole["added_tokens"]]),
    )
    for regex in ("(a+)+$", "(", "(?R)", "(.*)*" * 30 + "$"):
        pattern = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
        yield f"regex {regex[:10]}", fields(name, pre_tokenizer=pattern)
    yield (
        "truncation",
        fields(name, truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}),
    )
    yield (
        "padding",
        fields(
            name,
            padding={
                "strategy": {"Fixed": 10**9},
                "direction": "Left",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "<pad>",
            },
        ),
    )
    name = "tokenizer_config.json"
    for what in ("", "{}", "[]", "5", "x", "[" * 100_000, "null"):
        yield f"tokenizer_config.json {what[:20]!r}", write(name, what)
    for field in ("bos_token", "eos_token", "unk_token", "pad_token", "tokenizer_class", "model_max_length"):
        for how in ODD:
            yield f"tokenizer_config.json {field} {how}", fields(name, **{field: ODD[how]})
    for field in (
        "extra_special_tokens",
        "added_tokens_decoder",
        "padding_side",
        "backend",
        "clean_up_tokenization_spaces",
    ):
        for how in ("null", "text", "negative", "list", "object", "true"):
            yield f"tokenizer_config.json {field} {how}", fields(name, **{field: ODD[how]})
    yield "extra tokens", fields(name, extra_special_tokens=[f"<x{n}>" for n in range(100)])
    yield "added tokens", fields(name, added_tokens_decoder={"99": {"content": "<x>"}, "abc": {"content": 5}})
    for cls in (
        "LlamaTokenizer",
        "GPT2Tokenizer",
        "GemmaTokenizerFast",
        "T5Tokenizer",
        "BertTokenizer",
        "Nothing",
        "open",
    ):
        yield f"tokenizer_class {cls}", fields(name, tokenizer_class=cls)
    yield (
        "tokenizer's own code",
        several(
            planted, fields(name, tokenizer_class="Planted", auto_map={"AutoTokenizer": ["planted.Planted", None]})
        ),
    )
    yield "no tokenizer", remove("tokenizer.json")
    yield "vocab.json alone", several(remove("tokenizer.json"), write("vocab.json", '{"a": 0}'))
    yield "tokenizer.model alone", several(remove("tokenizer.json"), write("tokenizer.model", b"\x0a\x05hello" * 9))


def place_cases() -> Iterator[tuple[str, Damage]]:
    for name in (*FILES, *BESIDE):
        for what in PLACES:
            yield f"{name} is {what}", in_its_place(name, what)
    for name in BESIDE:
        for what in ("", "x", "[]", "{}", "5", "null"):
            yield f"{name} holds {what!r}", write(name, what)
    for field in ("eos_token_id", "max_length", "temperature", "do_sample", "transformers_version"):
        for how in ("null", "text", "negative", "list", "NaN", "object"):
            yield f"generation_config.json {field} {how}", fields("generation_config.json", **{field: ODD[how]})
    for name in FILES[1:]:
        yield f"{name} empty", write(name, "")
        yield f"{name} zeros", write(name, bytes(300))
    yield "checksums.json of others", write("checksums.json", '{"config.json": "00"}')
    yield "checksums.json of numbers", write("checksums.json", '{"config.json": 5}')
    yield "checksums.json outside", write("checksums.json", '{"../../../../../etc/passwd": "00"}')
    yield "a second safetensors file", lambda f: _other_weights(f, "second.safetensors")
    yield "a broken second safetensors file", write("second.safetensors", "x")
    yield "a file in a folder below", write("below/config.json", "x")
