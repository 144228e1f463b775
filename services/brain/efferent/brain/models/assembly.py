"""Makes the brain's models from the configuration: part of the composition root, used by ``app.py`` alone."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from efferent.brain.adapters.anthropic_model import AnthropicModel
from efferent.brain.adapters.litellm_model import Litellm, LitellmModel
from efferent.brain.adapters.offline_model import OfflineModel
from efferent.brain.models.routing import ProviderModel, RoutedModels
from efferent.common.model_config import ModelConfigs
from efferent.common.model_provider import Provider


def build_models(
    configs: ModelConfigs,
    environ: Mapping[str, str],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> RoutedModels:
    """One adapter per provider. Nothing is imported, opened or asked before ``start`` and the first request.

    ``environ`` is where keys are found; ``sleep`` waits that many seconds between silent tries.
    """
    litellm = Litellm()

    def adapter(provider: Provider) -> ProviderModel:
        match provider.kind:
            case "anthropic":
                return AnthropicModel(provider, environ, configs.traits)
            case "litellm":
                return LitellmModel(provider, environ, configs.traits, litellm)
            case "offline":
                return OfflineModel()

    return RoutedModels(
        configs,
        {provider.name: adapter(provider) for provider in configs.providers},
        preparations=[litellm.load] if configs.imports_litellm else [],
        closings=[litellm.close],
        sleep=sleep,
    )
