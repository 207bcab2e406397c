"""A catalogue as training data, and what people say of it; test_training_fashion_products.py has the rest."""

from services.client.review import judgement, truths
from services.shared.events import Filters, Product
from services.shared.layout import photo_uri
from services.shared.memory import MemoryCatalogue, MemoryObjects
from services.training import catalogue
from services.training.catalogue import CatalogueSource, Judged
from services.training.examples import UNKNOWN
from tests.unit.client_world import NOW, result
from tests.unit.training_photos import photo

SHOP = [
    Product(image_id=1, gender="Men", article_type="Shirts", year=2012),
    Product(image_id=2, gender="Women", article_type="Handbags", year=2012),
    Product(image_id=3, gender="Men", article_type="Shirts", year=2016),
    Product(image_id=4, gender="Women", article_type="Handbags", year=2016),
    Product(image_id=5, gender="Men", article_type="Shirts", year=2012),
]


def source(judged: Judged, filters: Filters | None = None) -> CatalogueSource:
    objects = MemoryObjects()
    for product in SHOP:
        objects.put(photo_uri("bucket", product.image_id), photo(product.image_id, side=32))
    return CatalogueSource(
        MemoryCatalogue(SHOP),
        objects,
        "bucket",
        filters or Filters(),
        selection_id="all",
        minimum_photos=1,
        validate_share=0.0,
        test=catalogue.TestSide(2016),
        read_from={},
        judged=judged,
    )


def learnt(made: CatalogueSource, head: str) -> dict[int, str | None]:
    """The label of each product, by name."""
    return {
        int(example.key): None if (index := example.labels[head]) == UNKNOWN else made.heads[head][index]
        for _, example in made.examples(16)
    }


def test_what_people_say_takes_the_place_of_what_the_catalogue_declares() -> None:
    made = source({1: {"article_type": "Ties"}, 4: {"article_type": "Shirts"}, 99: {"gender": "Boys"}})
    assert learnt(made, "article_type") == {1: "Ties", 2: "Handbags", 3: "Shirts", 4: "Shirts", 5: "Shirts"}
    assert learnt(made, "gender") == {1: "Men", 2: "Women", 3: "Men", 4: "Women", 5: "Men"}
    assert made.description["labels by people"] == "3"


def test_where_there_is_no_telling_nothing_is_learnt() -> None:
    made = source({5: {"article_type": None}})
    assert learnt(made, "article_type") == {1: "Shirts", 2: "Handbags", 3: "Shirts", 4: "Handbags", 5: None}


def test_heads_that_are_no_columns_of_a_catalogue_are_left_alone() -> None:
    made = source({1: {"category": "Dress", "image_id": "7"}})
    assert learnt(made, "article_type")[1] == "Shirts"
    assert made.description["labels by people"] == "0"


def test_filters_see_what_the_catalogue_declares() -> None:
    made = source({2: {"article_type": "Ties"}}, Filters(article_type=("Handbags", "Shirts")))
    assert learnt(made, "article_type")[2] == "Ties"


def test_verdicts_become_what_people_say_of_products() -> None:
    shirt = result(1, {"article_type": [("Shirts", 0.9)], "gender": [("Men", 0.8)]}).prediction
    upload = result(2, {"article_type": [("Shirts", 0.9)]}).prediction.model_copy(update={"image_id": None})
    verdicts = [
        judgement(shirt, "article_type", "accepted", by="ada@example.com", at=NOW),
        judgement(shirt, "gender", "dismissed", by="ada@example.com", at=NOW),
        judgement(upload, "article_type", "accepted", by="ada@example.com", at=NOW),
    ]
    assert truths(verdicts) == {1: {"article_type": "Shirts", "gender": None}}
