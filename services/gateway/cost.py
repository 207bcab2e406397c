"""What a request would take and cost, before it is sent: a price table times what the pipeline does."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.client.ports import Matching
from services.shared.events import BATCH_IMAGES, ClassificationRequested

TIB = 2**40  # bytes
# BigQuery charges a query for at least so much of each table that it reads.
LEAST_SCANNED = 10 * 2**20  # bytes

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Prices(BaseModel):
    """What a unit of each costs, and how many photos a unit does. VITRINE_PRICES replaces what it names.

    The prices are Google's list prices in us-central1, in US dollars, without taxes, discounts, free tiers:
    cloud.google.com/run/pricing (instance-based billing; L4 without zonal redundancy),
    cloud.google.com/bigquery/pricing and cloud.google.com/storage/pricing (standard, one region), as of
    November 2025. The throughputs are assumptions on the careful side, not measurements: put your own there
    once the dashboard shows them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    gpu_second: Price = 0.000_186_7  # an L4; 0 where inference has none
    vcpu_second: Price = 0.000_018
    gib_second: Price = 0.000_002
    bigquery_tib: Price = 6.25  # on-demand, scanned
    storage_operations: Price = 0.005  # a thousand of class A: writes, copies, listings

    # The instance that classifies, as services/inference/stage.yaml has it with a GPU.
    inference_vcpus: Price = 4
    inference_gib: Price = 16
    classified_a_second: Rate = 50  # photos, by one such instance
    staged_a_vcpu_second: Rate = 100  # photos that staging, selection and recording pass on
    augmented_a_vcpu_second: Rate = 25  # variants


class Costs(BaseModel):
    """What each part costs, in the currency of the estimate."""

    inference: float
    cpu: float
    bigquery: float
    storage: float


class Estimate(BaseModel):
    """What a request would match, scan, take and cost if it were sent now."""

    images: Annotated[int, Field(description="Products that match, at most `limit`.")]
    photos: Annotated[int, Field(description="Photos of these products.")]
    batches: int
    predictions: Annotated[int, Field(description="Photos and variants that would be classified.")]
    variants: Annotated[int, Field(description="Photos that augmentation would write.")]
    bytes_scanned: Annotated[
        int, Field(description="Bytes that BigQuery would read to select them; 0 where it cannot say.")
    ]
    gpu_seconds: Annotated[float, Field(description="Seconds of inference, of one instance.")]
    cpu_seconds: Annotated[float, Field(description="vCPU-seconds of the other stages.")]
    storage_operations: Annotated[int, Field(description="Operations of Cloud Storage's class A.")]
    currency: str
    cost: float
    costs: Costs
    limit: Annotated[float | None, Field(description="A job that costs more needs confirm_cost=true.")]
    needs_confirmation: bool


# Objects that a batch leaves beside its photos: metadata, predictions, ledger, and for each of four messages
# that it is handled; and the listing of its shard.
BATCH_OPERATIONS = 8
# The request's and the manifest's, the shard's marker, the summary, and what ends a job.
JOB_OPERATIONS = 8


def estimate(
    request: ClassificationRequested,
    matching: Matching,
    prices: Prices,
    limit: float | None,
    prepared: ClassificationRequested | None = None,
) -> Estimate:
    """Prices a request.

    Args:
        request: the request.
        matching: what it selects, its limit considered.
        prices: of a unit each.
        limit: the cost above which a job must be confirmed.
        prepared: what the job was asked for that has prepared the photos and variants, if one has.

    """
    augmentation = (prepared or request).augmentation
    copies = augmentation.copies if augmentation else 0
    of_each = {"originals": 1, "augmented": copies, "both": 1 + copies, "none": 0}[request.classify]
    photos = matching.photos
    predictions = photos * of_each
    # Of what is prepared nothing is written.
    copied, variants = (0, 0) if prepared else (photos, photos * copies)
    batches = max(1, -(-matching.images // BATCH_IMAGES))
    gpu_seconds = predictions / prices.classified_a_second
    cpu_seconds = photos / prices.staged_a_vcpu_second + variants / prices.augmented_a_vcpu_second
    operations = copied + variants + BATCH_OPERATIONS * batches + JOB_OPERATIONS
    instance_second = (
        prices.gpu_second
        + prices.inference_vcpus * prices.vcpu_second
        + prices.inference_gib * prices.gib_second
    )
    costs = Costs(
        inference=gpu_seconds * instance_second,
        cpu=cpu_seconds * (prices.vcpu_second + prices.gib_second),
        bigquery=max(matching.bytes_scanned, LEAST_SCANNED) / TIB * prices.bigquery_tib,
        storage=operations / 1000 * prices.storage_operations,
    )
    cost = costs.inference + costs.cpu + costs.bigquery + costs.storage
    return Estimate(
        images=matching.images,
        photos=photos,
        batches=batches,
        predictions=predictions,
        variants=variants,
        bytes_scanned=matching.bytes_scanned,
        gpu_seconds=gpu_seconds,
        cpu_seconds=cpu_seconds,
        storage_operations=operations,
        currency=prices.currency,
        cost=cost,
        costs=costs,
        limit=limit,
        needs_confirmation=limit is not None and cost > limit,
    )
