"""Several sources as one: in the labels of the first, with what the others add to them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.shared.nearest import did_you_mean
from services.training.examples import UNKNOWN, UNLEARNT, Example, LeftOut, Side, Source


class MixtureError(ValueError):
    """Sources do not fit together; the message says where."""


@dataclass(frozen=True)
class Part:
    """One of the sources.

    Args:
        name: unique among the parts.
        source: its examples.
        adds: labels that only this source has, as (head, label).

    """

    name: str
    source: Source
    adds: frozenset[tuple[str, str]] = frozenset()


class Mixture:
    """A `services.training.examples.Source` of several.

    The heads are those of the first part. Of the others, a head that the first does not have is a head of its
    own, and a label that the first does not have must be named by `adds`, so that a misspelt label is no new
    one; a part in the same taxonomy as the first, which adds nothing, has its other labels masked.

    Args:
        parts: the sources.
        same_taxonomy: names of parts whose labels are typed in as those of the first.

    Raises:
        MixtureError: a part has a label that is neither the first's nor named by `adds`.

    """

    def __init__(self, parts: Sequence[Part], same_taxonomy: frozenset[str] = frozenset()) -> None:
        self._parts = parts
        first = parts[0].source.heads
        heads = {head: [*labels] for head, labels in first.items()}
        for part in parts[1:]:
            if part.name in same_taxonomy:
                continue
            for head, label in sorted(part.adds):
                known = part.source.heads.get(head)
                if known is None:
                    hint = did_you_mean(head, part.source.heads)
                    raise MixtureError(f"{part.name}.adds: it has no attribute {head!r}{hint}")
                if label not in known:
                    hint = did_you_mean(label, known)
                    raise MixtureError(f"{part.name}.adds.{head}: no photo of it has {label!r}{hint}")
            for head, labels in part.source.heads.items():
                if head not in first:
                    heads.setdefault(head, []).extend(
                        label for label in labels if label not in heads.get(head, [])
                    )
                    continue
                for label in labels:
                    if label not in heads[head] and (head, label) not in part.adds:
                        raise MixtureError(
                            f"{part.name}: {head}: no other source has the label {label!r}"
                            f"{did_you_mean(label, first[head])} Correct the label map, or list the label in "
                            f"{part.name}.adds"
                        )
                    if label not in heads[head]:
                        heads[head].append(label)
        self.heads: Mapping[str, Sequence[str]] = heads
        several: dict[str, list[str]] = {}
        for part in parts:
            for head, labels in part.source.several.items():
                if head in heads:
                    raise MixtureError(f"{part.name}: {head} has several values here, and one elsewhere")
                known = several.setdefault(head, [])
                known.extend(label for label in labels if label not in known)
        self.several: Mapping[str, Sequence[str]] = several
        self.applies_to = {head: rules for part in parts for head, rules in part.source.applies_to.items()}
        self.description = {
            f"{part.name}: {key}": value for part in parts for key, value in part.source.description.items()
        }

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What takes no part; complete when `examples` has been read to its end."""
        return [
            LeftOut(f"{part.name}: {each.what}", each.count, each.why)
            for part in self._parts
            for each in part.source.left_out
        ]

    def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
        """The examples of each part in turn; keys begin with the part's name."""
        for part in self._parts:
            places = {
                head: [
                    self.heads[head].index(label) if label in self.heads.get(head, ()) else UNLEARNT
                    for label in labels
                ]
                for head, labels in part.source.heads.items()
            }
            for side, example in part.source.examples(image_size):
                targets = {
                    head: places[head][index] if index >= 0 else index
                    for head, index in example.labels.items()
                    if head in self.heads
                }
                several = {
                    head: self._placed(head, part.source.several[head], given)
                    for head, given in example.several.items()
                }
                # Photos of nothing that is known are kept on the test side alone: there they show doubt.
                if side == "test" or several or any(index >= 0 for index in targets.values()):
                    yield (
                        side,
                        Example(
                            f"{part.name}/{example.key}",
                            example.pixels,
                            targets,
                            example.origin,
                            example.year,
                            example.photo,
                            several,
                        ),
                    )

    def _placed(self, head: str, labels: Sequence[str], given: Sequence[int]) -> Sequence[int]:
        """What is known of each label of the mixture; nothing of one that the part does not have."""
        known = dict(zip(labels, given, strict=True))
        return [known.get(label, UNKNOWN) for label in self.several[head]]
