"""The model's card: what a reader has to know before trusting it."""

from collections.abc import Iterator

from services.model.manifest import Manifest
from services.training import snapshot
from services.training.measures import PHOTO, Evaluation, HeadFigures

_CARD = """\
# {name} {version}

Written by the command that made the model:

    {command}

{about}
## What it was trained on

| side | images |
|---|---|
{sides}

{left_out}
## How good it is

{held_out}
`evaluation.html` beside this card has every class, the confusion matrices, calibration and the mistakes.

| head | images | number | right | F1, mean over classes | calibration error | answered | right of these |
|---|---|---|---|---|---|---|---|
{heads}

Right is only the first answer among *all* labels of a head. A head abstains where it is less sure than
its threshold, and the last two columns are about that.

Images that are no photos say that labels can be told apart in such images. **They are not accuracy on
photos.**
{classes}
## Exports

{exports}

| | | head | the same label |
|---|---|---|---|
{agreements}

## Photos unlike those that it was trained on

A distance to what it was trained on marks them as unfamiliar. How well that tells them from test photos
(AUROC, 1 is always):

{unfamiliar}
"""


def card(manifest: Manifest, evaluation: Evaluation, data: snapshot.Manifest, about: str) -> str:
    """The card, in Markdown.

    Args:
        manifest: the model's.
        evaluation: what was measured of it.
        data: what it was trained on.
        about: what the run's configuration says of the data and of the model's limits.

    """
    return _CARD.format(
        name=manifest.name,
        version=manifest.version,
        command=evaluation.made.command,
        about=about,
        sides=_rows((side, count) for side, count in data.examples.items()),
        left_out="".join(f"- Left out: {each.what} ({each.count}): {each.why}\n" for each in data.left_out),
        held_out=evaluation.made.held_out,
        heads=_rows(_head_rows(evaluation)),
        classes="".join(
            f"\n### {name}\n\n| label | photos | precision | recall | F1 |\n|---|---|---|---|---|\n"
            + _rows(_class_rows(head.origins[PHOTO]))
            + "\n"
            for name, head in evaluation.heads.items()
            if PHOTO in head.origins
        ),
        exports="\n".join(
            f"- `{name}`: {export.size / 1e6:.1f} MB" for name, export in evaluation.exports.items()
        ),
        agreements=_rows(
            (each.one, each.other, each.head, f"{each.same.value:.2%}") for each in evaluation.agreements
        ),
        unfamiliar="\n".join(
            f"- {kind.kind}, {kind.images} images: {kind.auroc:.3f}" for kind in evaluation.unfamiliar
        ),
    )


def _head_rows(evaluation: Evaluation) -> Iterator[tuple[object, ...]]:
    for name, head in evaluation.heads.items():
        for origin, figures in head.origins.items():
            answered = figures.abstention.accuracy
            yield (
                name,
                origin,
                figures.accuracy.whole,
                f"**{figures.accuracy.value:.2%}**" if origin == PHOTO else f"{figures.accuracy.value:.2%}",
                f"{figures.macro_f1:.3f}",
                f"{figures.calibration_error:.3f}",
                f"{figures.abstention.answered.value:.1%}",
                f"{answered.value:.2%}" if answered else "",
            )


def _class_rows(figures: HeadFigures) -> Iterator[tuple[object, ...]]:
    for each in figures.classes:
        if each.photos:
            shares = (each.precision, each.recall, each.f1)
            yield (each.label, each.photos, *("" if share is None else f"{share:.1%}" for share in shares))


def _rows(rows: Iterator[tuple[object, ...]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
