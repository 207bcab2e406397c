"""`vitrine catalogue check` tells what contradicts an attribute that does not apply to all products."""

from pathlib import Path

from services.client.check import check_files
from services.shared.catalogue_config import CatalogueConfig
from services.shared.catalogue_files import read_catalogue

CONFIG = CatalogueConfig.model_validate(
    {
        "id": "sku",
        "attributes": {"kind": {}, "sleeve": {"applies_to": {"kind": ["Shirt", "Dresses"]}}},
    }
)


def test_values_where_none_should_be_and_values_that_no_product_has_are_named(tmp_path: Path) -> None:
    rows = [
        "sku,kind,sleeve",
        "1,Shirt,Long",
        "2,Shoes,",
        "3,Shoes,Long",
        "4,Shoes,Not applicable",
        "5,Dress,",
    ]
    (tmp_path / "shop.csv").write_text("\n".join(rows))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").touch()

    found = check_files(read_catalogue(tmp_path, CONFIG), CONFIG)

    assert [str(each) for each in found.findings if "photo" not in each.what] == [
        "1 values of kind in applies_to of sleeve that no product has: 'Dresses'; did you mean 'Dress'?",
        "1 products with a sleeve, which does not apply to them: 3 (sleeve Long; kind Shoes)",
    ]
    assert not found.stopped
