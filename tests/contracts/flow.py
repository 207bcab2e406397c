"""The README's picture of the flow, made from schemas/topics.yaml.

`python -m tests.contracts.flow` prints it.
"""

from services.shared.wiring import Wiring, load_wiring

OUTSIDE = {"you": "you", "cloud-storage": "Cloud Storage"}
ANYBODY = "whoever subscribes"


def picture(wiring: Wiring) -> str:
    """A Mermaid flowchart: services are boxes, topics the arrows' labels; dead letters are left out."""
    dead_letters = {subscription.dead_letter for _, _, subscription in wiring.subscriptions().values()}
    flow = {name: topic for name, topic in wiring.topics.items() if name not in dead_letters}
    lines = ["```mermaid", "flowchart LR"]
    lines += [f"    {name}([{label}])" for name, label in OUTSIDE.items()]
    lines += [f"    {service}[{service}]" for service in wiring.services()]
    lines += [f"    anybody([{ANYBODY}])"]
    lines += [
        f"    {producer} -->|{name}| {consumer}"
        for name, topic in flow.items()
        for producer in topic.producers
        for consumer in topic.subscriptions or ("anybody",)
    ]
    return "\n".join([*lines, "```"])


if __name__ == "__main__":
    print(picture(load_wiring()))
