"""Given-when-then over the pure domain: ``Story`` plays commands on a session and remembers what was recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from efferent.common.domain.commands import (
    ClaimTurn,
    Command,
    ConfirmationDraft,
    CreateSession,
    CustomToolResultDraft,
    EventDraft,
    InterruptDraft,
    MessageDraft,
    RecordFailure,
    RecordReply,
    RecordToolResult,
    ReplyPart,
    SendEvents,
    SetBudget,
    StartRequest,
    TakeQueuedInput,
    ToolCallPart,
    UpdateSession,
)
from efferent.common.domain.content import TextBlock
from efferent.common.domain.decide import decide
from efferent.common.domain.draft import Decision, Stamp
from efferent.common.domain.effects import Effect
from efferent.common.domain.events import InternalEvent, PublicEvent
from efferent.common.domain.ids import (
    AgentId,
    BrainId,
    ClaimId,
    EnvironmentId,
    EventId,
    Seed,
    SessionId,
    ThreadId,
    WorkspaceId,
)
from efferent.common.domain.react import pending
from efferent.common.domain.record import Record
from efferent.common.domain.resources.agent import (
    AgentSnapshot,
    AgentToolset,
    CustomTool,
    ModelConfig,
    PermissionPolicy,
    Tool,
    ToolsetDefaults,
)
from efferent.common.domain.resources.environment import CloudConfig, EnvironmentConfig
from efferent.common.domain.state import Running, SessionState
from efferent.common.domain.usage import BudgetLimit, ModelUsage, Money

START_US = 1_760_000_000_000_000


def toolset(policy: str = "always_allow") -> AgentToolset:
    """The built-in tools under one policy."""
    return AgentToolset(
        default_config=ToolsetDefaults(permission_policy=PermissionPolicy.model_validate({"type": policy}))
    )


def custom_tool(name: str = "ask_human") -> CustomTool:
    """A tool that the client runs."""
    return CustomTool(name=name, description="Asks.", input_schema={"type": "object"})


def agent(*tools: Tool, model_id: str = "claude-test") -> AgentSnapshot:
    """An agent with these tools."""
    return AgentSnapshot(
        id=AgentId("agent_1"), version=1, name="tester", model=ModelConfig(id=model_id), tools=tuple(tools)
    )


def message(text: str = "hello") -> MessageDraft:
    """A user message."""
    return MessageDraft((TextBlock(text=text),))


def say(text: str) -> TextBlock:
    """Text in a model's reply."""
    return TextBlock(text=text)


def call(name: str = "bash", **arguments: str) -> ToolCallPart:
    """A call in a model's reply."""
    return ToolCallPart(name, dict(arguments))


def budget(cents: int) -> BudgetLimit:
    """A budget of so many cents."""
    return BudgetLimit(max_list_cost=Money(amount=str(cents)))


@dataclass
class Story:
    """One session, played command by command. Every command gets the next millisecond and fresh ids."""

    tools: Sequence[Tool] = ()
    environment: EnvironmentConfig = field(default_factory=CloudConfig)
    budget_cents: int | None = None
    model_id: str = "claude-test"
    records: list[Record] = field(default_factory=list)
    current: SessionState | None = None
    _step: int = 0
    _claims: int = 0

    @property
    def state(self) -> SessionState:
        """The state so far."""
        assert self.current is not None
        return self.current

    def pending_effects(self) -> tuple[Effect, ...]:
        """What has to happen now."""
        return pending(self.current)

    @property
    def types(self) -> list[str]:
        """Types of all public events so far."""
        return [event.type for event in self.events if not event.type.startswith("internal.")]

    @property
    def events(self) -> list[PublicEvent | InternalEvent]:
        """All events so far."""
        return [entry.event for record in self.records for entry in record.entries]

    @property
    def claim_id(self) -> ClaimId:
        """The claim that holds the session."""
        assert self.state.claim is not None
        return self.state.claim.claim_id

    @property
    def span_id(self) -> EventId:
        """The open model request."""
        assert isinstance(self.state.status, Running)
        assert self.state.status.span_id is not None
        return self.state.status.span_id

    def when(self, command: Command) -> list[str]:
        """Play the command; the types of the public events that it recorded. Raises Refused."""
        made = self.decide(command).record
        entries = made.entries if made is not None else ()
        return [entry.event.type for entry in entries if not entry.event.type.startswith("internal.")]

    def decide(self, command: Command) -> Decision:
        """Play the command; the whole decision. Raises Refused, and then nothing has changed."""
        self._step += 1
        stamp = Stamp(START_US + self._step * 1_000, Seed(f"s{self._step:023d}"))
        decision = decide(self.current, command, stamp)
        if decision.record is not None:
            self.records.append(decision.record)
        self.current = decision.state
        return decision

    def create(self, *initial: EventDraft) -> "Story":
        """Create the session."""
        self.when(
            CreateSession(
                session_id=SessionId("sesn_1"),
                workspace_id=WorkspaceId("wrkspc_1"),
                primary_thread_id=ThreadId("sthr_1"),
                agent=agent(*self.tools, model_id=self.model_id),
                environment_id=EnvironmentId("env_1"),
                environment_config=self.environment,
                budget=budget(self.budget_cents) if self.budget_cents is not None else None,
                initial_events=initial,
            )
        )
        return self

    def send(self, *events: EventDraft, key: str | None = None) -> list[str]:
        """Send client events."""
        return self.when(SendEvents(events, idempotency_key=key))

    def claim(self, brain: str = "brain_1") -> list[str]:
        """Claim what waits, or take over."""
        self._claims += 1
        return self.when(ClaimTurn(ClaimId(f"claim_{self._claims}"), BrainId(brain)))

    def take(self) -> list[str]:
        """The holder takes in what came."""
        return self.when(TakeQueuedInput(self.claim_id))

    def reply(
        self,
        *parts: ReplyPart,
        usage: ModelUsage | None = None,
        compaction_due: bool = False,
        more: bool = False,
        cost_micro_usd: int | None = 100,
    ) -> list[str]:
        """The model replies; ``more``: it paused and has more to say."""
        used = usage or ModelUsage(input_tokens=10, output_tokens=5)
        return self.when(
            RecordReply(
                self.claim_id,
                self.span_id,
                "claude-test",
                parts,
                used,
                cost_micro_usd,
                more_to_come=more,
                compaction_due=compaction_due,
            )
        )

    def fail(self, verdict: str = "retryable", message: str = "no") -> list[str]:
        """The model request fails."""
        match verdict:
            case "retryable" | "exhausted" | "terminal":
                return self.when(
                    RecordFailure(self.claim_id, self.span_id, "model_overloaded", verdict, message, 1_000_000)
                )
            case _:
                raise AssertionError(verdict)

    def retry(self) -> list[str]:
        """The wait for the retry is over."""
        return self.when(StartRequest(self.claim_id))

    def result(self, call_id: EventId, text: str = "ok", *, is_error: bool = False) -> list[str]:
        """A sandbox call finishes."""
        return self.when(RecordToolResult(self.claim_id, call_id, (TextBlock(text=text),), is_error))

    def confirm(self, call_id: EventId, *, deny: str | None = None) -> list[str]:
        """The client confirms or denies a call."""
        verdict: ConfirmationDraft = (
            ConfirmationDraft(call_id, "allow") if deny is None else ConfirmationDraft(call_id, "deny", deny)
        )
        return self.send(verdict)

    def answer(self, call_id: EventId, text: str = "42") -> list[str]:
        """The client sends the result of a custom tool."""
        return self.send(CustomToolResultDraft(call_id, (TextBlock(text=text),)))

    def set_budget(self, cents: int | None) -> list[str]:
        """The client changes the budget, or removes it."""
        return self.when(UpdateSession(budget=SetBudget(budget(cents) if cents is not None else None)))

    def interrupt(self) -> list[str]:
        """The client interrupts."""
        return self.send(InterruptDraft())
