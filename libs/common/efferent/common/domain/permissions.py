"""Which tools a session has and whether a call may run: decided by the declared toolsets alone."""

from dataclasses import dataclass
from typing import Final

from efferent.common.domain.events.agent import (
    AutoAsk,
    EvaluatedAlwaysAllow,
    EvaluatedAlwaysAsk,
    EvaluatedAuto,
    Evaluation,
    Permission,
)
from efferent.common.domain.resources.agent import AgentSnapshot, AgentToolset, CustomTool, PermissionPolicy

SANDBOX_TOOLS: Final = ("bash", "read", "write", "edit", "glob", "grep")
"""Built-in tools that run in the sandbox. The web tools are not offered in this release (docs/divergences.md)."""


@dataclass(frozen=True, slots=True)
class BuiltinTool:
    """A built-in tool with the policy that governs it."""

    name: str
    policy: PermissionPolicy


@dataclass(frozen=True, slots=True)
class UnavailableTool:
    """No tool of the session has this name."""

    name: str


def find_tool(agent: AgentSnapshot, name: str) -> BuiltinTool | CustomTool | UnavailableTool:
    """The tool that a model's call of this name means."""
    for tool in agent.tools:
        match tool:
            case AgentToolset() if name in SANDBOX_TOOLS:
                own = next((config for config in tool.configs if config.name == name), None)
                enabled = own.enabled if own else tool.default_config.enabled
                policy = own.permission_policy if own else tool.default_config.permission_policy
                return BuiltinTool(name, policy) if enabled else UnavailableTool(name)
            case CustomTool() if tool.name == name:
                return tool
            case _:
                continue
    return UnavailableTool(name)


def builtin_tools(agent: AgentSnapshot) -> tuple[BuiltinTool, ...]:
    """The sandbox tools that the agent may use."""
    found = (find_tool(agent, name) for name in SANDBOX_TOOLS)
    return tuple(tool for tool in found if isinstance(tool, BuiltinTool))


def evaluate(policy: PermissionPolicy) -> tuple[Permission, Evaluation]:
    """What the policy says to a call. ``auto`` has no judge in this release and therefore asks."""
    match policy.type:
        case "always_allow":
            return "allow", EvaluatedAlwaysAllow()
        case "always_ask":
            return "ask", EvaluatedAlwaysAsk()
        case "auto":
            return "ask", EvaluatedAuto(evaluated_permission=AutoAsk(reason_code="indeterminate"))
