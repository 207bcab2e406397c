"""What a notebook wants, without one."""

import json
import os
from pathlib import Path

import pandas as pd
import psutil
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from services.client.client import parse_request
from services.client.errors import ClientError
from services.client.notebook import (
    Progress,
    calibration_plot,
    confusion_frame,
    connect,
    disagreements_frame,
    gallery,
    prepared,
    quality_frame,
    side_by_side,
    to_frame,
)
from services.client.ports import Disagreement
from services.client.review import Cell, assess
from services.shared.events import Declared, Product
from services.shared.layout import photo_uri
from tests.unit.client_world import World, result
from tests.unit.memory_pipeline import BUCKET
from tests.unit.photos import jpeg

SHIRT = Product.of("1", article_type="Tshirts", display_name="Plain shirt")
PREPARE = (
    '{"job_id": "job", "classify": "none",'
    ' "augmentation": {"resize": {"width": 8, "height": 8}, "copies": 2}}'
)


def shop() -> World:
    """Three products; the last one has no photo."""
    world = World([SHIRT.model_copy(update={"product_id": product_id}) for product_id in "123"])
    for product_id in "12":
        world.objects.put(photo_uri(BUCKET, product_id), jpeg(), "image/jpeg")
    return world


def run(world: World, request: str) -> str:
    job_id = world.vitrine.request(parse_request(request))
    world.pipeline.run()
    return job_id


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


# ------------------------------------------------------------------------------------- connecting and jobs


def test_the_local_cloud_is_found_above_the_notebooks_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says it runs, in this process, and does not answer."""
    monkeypatch.delenv("VITRINE_HOME", raising=False)
    (tmp_path / ".vitrine").mkdir()
    itself = {"pid": os.getpid(), "started": psutil.Process().create_time()}
    state = {"first_port": 1, "ready": True, "supervisor": itself, "processes": []}
    (tmp_path / ".vitrine" / "cloud.json").write_text(json.dumps(state))
    folder = tmp_path / "services" / "client"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    with pytest.raises(ClientError, match=r"nothing answers at 127\.0\.0\.1:1"):
        connect()


def test_progress_says_how_far_each_stage_is() -> None:
    world = shop()
    job_id = run(world, PREPARE)
    shown = Progress(world.vitrine.status(job_id))
    assert repr(shown).startswith(
        "job completed: 0 predictions, 1 errors: selected 3 of 3 products, staged 1 of 1"
    )
    assert "<progress value='3' max='3'></progress>" in shown._repr_html_()
    waiting = Progress(world.vitrine.status("nobody"))
    assert repr(waiting) == "nobody running: selected 0 products"


def test_the_products_that_a_job_prepared_are_read_in_their_order() -> None:
    world = shop()
    job_id = run(world, PREPARE)
    assert [product.product_id for product in prepared(world.vitrine, job_id, 2)] == ["1", "2"]
    assert len(prepared(world.vitrine, job_id, 9)) == 3
    with pytest.raises(ClientError, match="there is no job 'nobody'"):
        prepared(world.vitrine, "nobody", 2)


# ------------------------------------------------------------------------------------- pictures


def test_photos_stand_beside_their_variants_and_their_metadata() -> None:
    world = shop()
    figure = side_by_side(world.vitrine, run(world, PREPARE), limit=2)
    assert titles(figure) == ["original", "augmented-0", "augmented-1", ""] * 2
    # The variants are of the size that was asked for; what was there is larger than nothing.
    assert [axes.images[0].get_size() for axes in figure.axes if axes.images] == [
        (8, 6),
        (8, 8),
        (8, 8),
    ] * 2
    assert texts(figure) == [
        f"product id: {product_id}\narticle type: Tshirts\ndisplay name: Plain shirt" for product_id in "12"
    ]


def test_variants_are_shown_of_a_job_that_classified_what_another_one_had_prepared() -> None:
    world = shop()
    job_id = world.vitrine.classify_prepared(run(world, PREPARE), "both")
    world.pipeline.run()
    figure = side_by_side(world.vitrine, job_id, limit=2)
    assert titles(figure) == ["original", "augmented-0", "augmented-1", ""] * 2
    assert "no photo" not in texts(figure)


def test_a_photo_that_is_not_there_is_said_not_to_be() -> None:
    world = shop()
    figure = side_by_side(world.vitrine, run(world, PREPARE), limit=3)
    assert texts(figure)[2:5] == ["no photo"] * 3


def test_a_gallery_says_what_contradicts_the_catalogue() -> None:
    doubted = result("1", {"article_type": [("Shirts", 0.9)]}, declared=SHIRT, disagreements=["article_type"])
    figure = gallery(
        shop().vitrine,
        [
            doubted,
            result("2", {"article_type": [("Tshirts", 0.999)]}, declared=SHIRT),
            result("3", error="photo-missing"),
        ],
        "article_type",
        columns=2,
    )
    assert titles(figure) == ["Shirts 90 %\nnot Tshirts", "Tshirts >99 %", "photo-missing", ""]
    assert [axes.title.get_color() for axes in figure.axes[:2]] == ["firebrick", "black"]


def test_a_calibration_plot_has_a_bar_a_bin_with_photos() -> None:
    cells = [Cell("a", "a", 7, True, 3, 2.25), Cell("b", "a", 9, True, 1, 0.95)]
    (axes,) = calibration_plot(assess("job", "article_type", "labels", cells)).axes
    bars = [bar.get_bbox() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert [(bar.x0, bar.height) for bar in bars] == [(0.7, 1.0), (0.9, 0.0)]
    assert axes.get_title() == "article type against labels: ECE 0.425"


def test_nothing_makes_an_empty_figure() -> None:
    assert titles(gallery(shop().vitrine, [], "article_type")) == [""] * 6
    (axes,) = calibration_plot(assess("job", "article_type", "labels", [])).axes
    assert len(axes.patches) == 0


# ------------------------------------------------------------------------------------- tables


def test_results_become_a_row_each_with_a_column_for_each_head() -> None:
    frame = to_frame(
        [
            result(
                "1",
                {"article_type": [("Shirts", 0.9), ("Tshirts", 0.1)], "base_colour": [("Red", 0.7)]},
                declared=SHIRT,
                disagreements=["article_type"],
                carried=[Declared(head="article_type", label="Tshirts", known="Tshirts", probability=0.1)],
                learnt=True,
            ),
            result("2", error="photo-missing"),
        ]
    )
    assert list(frame.columns) == [
        "product_id",
        "variant",
        "article_type",
        "article_type_probability",
        "article_type_declared",
        "article_type_declared_probability",
        "base_colour",
        "base_colour_probability",
        "base_colour_declared",
        "base_colour_declared_probability",
        "disagreements",
        "abstained",
        "unfamiliar",
        "learnt",
        "error",
        "image_uri",
    ]
    assert frame.article_type_probability[0] == 0.9
    assert frame.article_type_declared[0] == "Tshirts"
    assert frame.article_type_declared_probability[0] == 0.1
    assert pd.isna(frame.base_colour_declared_probability[0])
    assert frame.learnt[0]
    assert list(frame.disagreements) == ["article_type", ""]
    assert pd.isna(frame.article_type[1])
    assert frame.error[1] == "photo-missing"


def test_disagreements_become_a_row_each() -> None:
    prediction = result("1", {"article_type": [("Shirts", 0.9)]}, abstained=["article_type"]).prediction
    doubts = [Disagreement(prediction, SHIRT, "article_type", "Shirts", "Tshirts", 0.9, 0.02)]
    assert disagreements_frame(doubts).to_dict("records") == [
        {
            "job_id": "job-1",
            "product_id": "1",
            "head": "article_type",
            "label": "Shirts",
            "probability": 0.9,
            "declared": "Tshirts",
            "declared_probability": 0.02,
            "unsure": True,
            "learnt": None,
            "name": "Plain shirt",
        }
    ]
    assert list(disagreements_frame([]).columns) == list(disagreements_frame(doubts).columns)


def test_quality_becomes_a_row_a_class_and_a_matrix() -> None:
    cells = [Cell("a", "a", 9, True, 3, 2.9), Cell("b", "a", 9, True, 1, 0.9)]
    quality = assess("job", "article_type", "labels", cells)
    frame = quality_frame(quality)
    assert list(frame.index) == ["a", "b"]
    assert list(frame.support) == [3, 1]
    assert frame.precision["a"] == 0.75
    assert pd.isna(frame.precision["b"])
    assert confusion_frame(quality).to_dict("index") == {"a": {"a": 3, "b": 0}, "b": {"a": 1, "b": 0}}
