"""The model as the process knows it that hands the work out: it is open in the workers alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from saeattr.model.loading import DTYPES, LanguageModel, model_name
from saeattr.study.prepare import Prepared


@dataclass(frozen=True)
class ModelElsewhere(LanguageModel):
    """Name, tokenizer, device and dtype of the workers' model; there is nothing to run.

    Attributes:
        type_of_device: of the workers; numbers: of the weights.
    """

    type_of_device: str = "cpu"
    numbers: torch.dtype = torch.float32

    @property
    def device(self) -> torch.device:
        return torch.device(self.type_of_device)

    @property
    def dtype(self) -> torch.dtype:
        return self.numbers


def model_elsewhere(prepared: Prepared, type_of_device: str) -> ModelElsewhere:
    """What stands for the study's model in this process."""
    settings = prepared.settings
    numbers = DTYPES[settings.dtype or "float32"]
    nothing: object = None
    return ModelElsewhere(
        model_name(settings.model),
        nothing,  # pyright: ignore[reportArgumentType]
        prepared.tokenizer,
        type_of_device,
        numbers,
    )
