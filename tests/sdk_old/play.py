"""A session through an SDK of the 0.x line; run as a program in that SDK's own environment."""

import os

import anthropic
from anthropic import Anthropic


def main() -> None:
    """Create, send, stream to idle, list; print what was found."""
    client = Anthropic(max_retries=0)
    print(anthropic.__version__)
    environment = client.beta.environments.create(name=os.environ["NAME"])
    agent = client.beta.agents.create(name="old", model="claude-sonnet-5-5")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    message = {"type": "user.message", "content": [{"type": "text", "text": "hello from the past"}]}
    streamed = []
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message])
        for event in stream:
            streamed.append(event)
            if event.type == "session.status_idle":
                break
    print("streamed", *(event.type for event in streamed))
    for event in streamed:
        if event.type == "agent.message":
            print("answered", "".join(block.text for block in event.content))
    listed = [event.id for event in client.beta.sessions.events.list(session.id)]
    print("listed the same" if listed == [event.id for event in streamed] else f"listed {listed}")
    found = [each.id for each in client.beta.sessions.list(agent_id=agent.id)]
    print("found in the list of sessions" if found == [session.id] else f"found {found}")


if __name__ == "__main__":
    main()
