"""What a check of a catalogue says of its photos."""

from services.client.check import check_tables
from services.shared.catalogue_config import CatalogueConfig
from services.shared.events import Product
from tests.unit.client_world import PipelineTables
from tests.unit.memory_pipeline import BUCKET, MemoryPipeline

CONFIG = CatalogueConfig.model_validate(
    {
        "id": "sku",
        "photos": {"column": "photo", "hosts": ["shop.example"]},
        "attributes": {"kind": {}},
    }
)


def test_photos_that_may_not_be_fetched_are_named_and_others_are_not_missed() -> None:
    addresses = ("https://shop.example/1.jpg", "https://other.example/2.jpg", "http://shop.example/3.jpg")
    products = [
        Product.of(str(number), photos=[address]) for number, address in enumerate(addresses, start=1)
    ]
    pipeline = MemoryPipeline([*products, Product.of("4")], config=CONFIG)
    found = check_tables(PipelineTables(pipeline), pipeline.objects, BUCKET)
    assert [str(each) for each in found.findings] == [
        "2 photos that may not be fetched: "
        "2 (other.example is not among photos.hosts of the catalogue.yaml), "
        "3 (http://shop.example/3.jpg: expected an address that begins with https://)",
        "1 products without a photo: 4",
    ]
