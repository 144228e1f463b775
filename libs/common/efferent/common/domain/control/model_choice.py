"""Which model an agent names and with which settings: defaults by model, and what a model does not take."""

from dataclasses import dataclass
from typing import Literal

from efferent.common.domain.model_catalog import EffortLevel, ModelTraits
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.agent import Effort, ModelConfig


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model as a client asked for it; ``traits`` is what is known about it."""

    traits: ModelTraits
    id: str
    effort: EffortLevel | None = None
    speed: Literal["standard", "fast"] | None = None
    inference_geo: Literal["us", "global"] | None = None


def resolve_model(choice: ModelChoice, *, previous: ModelConfig | None = None) -> ModelConfig:
    """Fill in the defaults. The effort of ``previous`` stays when the id is the same and none is asked for.

    Raises InvalidRequest when the model does not take the effort or the speed.
    """
    traits = choice.traits
    effort = choice.effort
    if effort is None:
        kept = previous.effort.type if previous is not None and previous.id == choice.id else None
        effort = kept or traits.effort_default
    elif effort not in traits.efforts and effort != traits.effort_default:
        taken = ", ".join(traits.efforts) or "none"
        raise InvalidRequest(f'model.effort: model "{choice.id}" does not support "{effort}"; it takes: {taken}')
    speed = choice.speed or "standard"
    if speed == "fast" and traits.fast_multiplier == 0:
        raise InvalidRequest(f'model.speed: model "{choice.id}" does not support "fast"')
    return ModelConfig(id=choice.id, effort=Effort(type=effort), speed=speed, inference_geo=choice.inference_geo)
