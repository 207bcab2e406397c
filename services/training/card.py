"""The model's card: what a reader has to know before trusting it."""

from collections.abc import Iterator

from services.model.manifest import Manifest
from services.training import snapshot
from services.training.measures import FREQUENT, MADE_BY_A_PROGRAM, PHOTO, Evaluation, HeadFigures

_CARD = """\
# {name} {version}

{unreliable}{about}
## How good it is

{held_out}
`evaluation.html` beside this card has every label, the confusion matrices, calibration and the mistakes.

| attribute | photos | number | accuracy (95 % interval) | of labelled | macro F1 | ECE | answered | right |
|---|---|---|---|---|---|---|---|---|
{heads}

*Accuracy* counts the first answer among all labels of the attribute, over photos whose label the model knows.
*Of labelled* also counts photos with a label that it does not know, of which no answer is right. *ECE* is
the expected calibration error. The model abstains where it is less sure than its threshold: *answered* is the
share that remains, *right* their accuracy.
{several}{rare}{programs}
## What it does with each kind of photo

| photos | number | called unfamiliar | {abstained_heads} |
|---|---|---|{abstained_rule}
{origins}

The columns after *called unfamiliar* are the shares of photos on which the model abstains.

How well the model tells other images from test photos by their distance (AUROC; 1 is always):

{unfamiliar}

## What it was trained on

| split | images |
|---|---|
{sides}

{left_out}
{classes}
## Exports

{exports}

| file | its own network | attribute | the same label, or one of a tie |
|---|---|---|---|
{agreements}

## How to make it again

    {command}

Code {revision}, data snapshot {snapshot}.
"""


def card(manifest: Manifest, evaluation: Evaluation, data: snapshot.Manifest, about: str) -> str:
    """The card, in Markdown.

    Args:
        manifest: the model's.
        evaluation: what was measured of it.
        data: what it was trained on.
        about: what the run's configuration says of the data and of the model's limits.

    """
    heads = [*evaluation.heads]
    programs = any(
        origin in MADE_BY_A_PROGRAM for head in evaluation.heads.values() for origin in head.origins
    )
    return _CARD.format(
        name=manifest.name,
        version=manifest.version,
        command=evaluation.made.command,
        revision=evaluation.made.revision,
        snapshot=evaluation.made.snapshot,
        unreliable="".join(
            f"> **Do not rely on `{head}` for new products.** {why}\n\n"
            for head, why in evaluation.unreliable.items()
        ),
        about=about,
        sides=_rows((side, count) for side, count in data.examples.items()),
        left_out="".join(f"- Left out: {each.what} ({each.count}): {each.why}\n" for each in data.left_out),
        held_out=evaluation.made.held_out,
        heads=_rows(_head_rows(evaluation)),
        several=_SEVERAL.format(rows=_rows(_several_rows(evaluation))) if evaluation.several else "",
        rare="".join(
            f"\n{name}: accuracy is {figures.frequent.value:.1%} over the {FREQUENT} most frequent labels, "
            f"{figures.rare.value:.1%} over all others.\n"
            for name, head in evaluation.heads.items()
            if (figures := head.origins.get(PHOTO)) and figures.frequent and figures.rare
        ),
        programs="\nFigures on images that a program drew or tinted are not accuracy on photos.\n"
        if programs
        else "",
        abstained_heads=" | ".join(heads),
        abstained_rule="---|" * len(heads),
        origins=_rows(
            (
                origin,
                figures.unfamiliar.whole,
                f"{figures.unfamiliar.value:.1%}",
                *(f"{figures.abstained[head].value:.1%}" for head in heads),
            )
            for origin, figures in evaluation.origins.items()
        ),
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
            (each.other, each.one, each.head, f"{each.same.value:.2%}") for each in evaluation.agreements
        ),
        unfamiliar="\n".join(
            f"- {kind.kind}, {kind.images} images: {kind.auroc:.3f}" for kind in evaluation.unfamiliar
        ),
    )


_SEVERAL = """
A photo may have several labels of these attributes. An answer is right if it has all of them and no other;
precision, recall and F1 are of each label.

| attribute | photos | number | right | macro F1 | micro F1 | ECE | label | has it | precision | recall | F1 |
|---|---|---|---|---|---|---|---|---|---|---|---|
{rows}
"""


def _several_rows(evaluation: Evaluation) -> Iterator[tuple[object, ...]]:
    for name, origins in evaluation.several.items():
        for origin, figures in origins.items():
            for each in figures.classes:
                shares = (each.precision, each.recall, each.f1)
                yield (
                    name,
                    origin,
                    figures.accuracy.whole,
                    f"{figures.accuracy.value:.1%}",
                    f"{figures.macro_f1:.3f}",
                    f"{figures.micro_f1:.3f}",
                    f"{figures.calibration_error:.3f}",
                    each.label,
                    each.photos,
                    *("" if share is None else f"{share:.1%}" for share in shares),
                )


def _head_rows(evaluation: Evaluation) -> Iterator[tuple[object, ...]]:
    for name, head in evaluation.heads.items():
        for origin, figures in head.origins.items():
            answered, accuracy = figures.abstention.accuracy, figures.accuracy
            yield (
                name,
                origin,
                accuracy.whole,
                f"**{accuracy.value:.1%}** ({accuracy.low:.1%} to {accuracy.high:.1%})",
                f"{figures.accuracy_of_labelled.value:.1%}",
                f"{figures.macro_f1:.3f}",
                f"{figures.calibration_error:.3f}",
                f"{figures.abstention.answered.value:.1%}",
                f"{answered.value:.1%}" if answered else "",
            )


def _class_rows(figures: HeadFigures) -> Iterator[tuple[object, ...]]:
    for each in figures.classes:
        if each.photos:
            shares = (each.precision, each.recall, each.f1)
            yield (each.label, each.photos, *("" if share is None else f"{share:.1%}" for share in shares))


def _rows(rows: Iterator[tuple[object, ...]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
