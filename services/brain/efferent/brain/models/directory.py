"""Every configured model under its id: makes the adapters, and says what a model costs and how much it holds.

Part of the composition root, used by ``app.py`` alone: the one place where providers' adapters are chosen.
"""

from collections.abc import Mapping

from efferent.brain.adapters.anthropic_model import AnthropicModel
from efferent.brain.adapters.litellm_model import Litellm, LitellmModel
from efferent.brain.adapters.offline_model import OfflineModel
from efferent.brain.models.routing import ProviderModel, RoutedModels, unknown_model
from efferent.brain.ports import Model
from efferent.common.domain.model_catalog import CONTEXT_WINDOW_DEFAULT
from efferent.common.domain.usage import ModelUsage
from efferent.common.model_config import ModelConfigs, UnknownModel
from efferent.common.model_provider import Provider


class ModelsByPattern:
    """The models of a brain. ``start`` before the first request; ``close`` at the end."""

    def __init__(self, configs: ModelConfigs, environ: Mapping[str, str]) -> None:
        """Nothing is imported, opened or asked before ``start``. ``environ`` is where the keys are found."""
        self._configs = configs
        self._environ = environ
        self._litellm = Litellm()
        self._routed = RoutedModels(
            configs,
            {provider.name: self._adapter(provider) for provider in configs.providers},
            preparations=[self._litellm.load] if configs.imports_litellm else [],
            closings=[self._litellm.close],
        )

    async def start(self) -> None:
        """Do what takes seconds, such as imports, so that no turn has to wait for it."""
        await self._routed.start()

    def find(self, model_id: str) -> Model:
        """The model that answers to the id. Raises ModelFailure, which names the patterns, when there is none."""
        try:
            self._configs.route(model_id)
        except UnknownModel as error:
            raise unknown_model(error) from error
        return self._routed

    def context_window_tokens(self, model_id: str) -> int:
        """Size of the model's context window; the default of unknown models when no provider takes the id."""
        try:
            return self._configs.traits(model_id).context_window
        except UnknownModel:
            return CONTEXT_WINDOW_DEFAULT

    def list_cost_micro_usd(self, model_id: str, usage: ModelUsage) -> int | None:
        """List price of one request in millionths of a dollar; None when the model has no list price."""
        return self._configs.list_cost_micro_usd(model_id, usage)

    async def close(self) -> None:
        """Close connections."""
        await self._routed.close()

    def _adapter(self, provider: Provider) -> ProviderModel:
        match provider.kind:
            case "anthropic":
                return AnthropicModel(provider, self._environ, self._configs.traits)
            case "litellm":
                return LitellmModel(provider, self._environ, self._configs.traits, self._litellm)
            case "offline":
                return OfflineModel()
