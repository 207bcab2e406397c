"""The README shows the flow as schemas/topics.yaml has it."""

from services.shared.wiring import SCHEMAS, load_wiring
from tests.contracts.flow import picture

README = SCHEMAS.parent / "README.md"
BEGIN, END = "<!-- flow -->", "<!-- /flow -->"


def test_the_readme_shows_the_flow_as_it_is() -> None:
    _, begin, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    shown, end, _ = rest.partition(END)
    assert (begin, end) == (BEGIN, END)
    assert shown.strip() == picture(load_wiring()), (
        "`python -m tests.contracts.flow` prints what belongs there"
    )


def test_the_picture_has_an_arrow_for_every_subscription_but_the_dead_letters() -> None:
    wiring = load_wiring()
    drawn = picture(wiring).splitlines()
    for topic, service, options in wiring.subscriptions().values():
        arrows = [line for line in drawn if line.endswith(f" -->|{topic}| {service}")]
        is_dead_letter = options.pull or topic == "message-rejected"
        assert len(arrows) == (0 if is_dead_letter else len(wiring.topics[topic].producers)), topic
    assert "    recording -->|job-completed| anybody" in drawn
