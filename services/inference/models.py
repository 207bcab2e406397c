"""The versions of the model that this process holds, loaded as jobs and `production` ask for them."""

import logging
import shutil
import tempfile
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from services.inference.batcher import Batcher
from services.inference.predictors import Predictor
from services.inference.stage import Combine, Predict
from services.model.learnt import Learnt
from services.model.manifest import ModelError, load_manifest
from services.model.registry import Pointer, Registry
from services.shared.labels import Vocabulary
from services.shared.ports import Objects

HELD = 3  # versions beside the embedded one and the one in production, which jobs asked for last
LOOK_INTERVAL = 3.0  # seconds between looks at what is in production

_logger = logging.getLogger("vitrine.models")


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A version that is ready to predict, as the stage wants it."""

    name: str
    version: str
    image_size: int
    labels: Mapping[str, Sequence[str]]
    vocabulary: Vocabulary
    thresholds: Mapping[str, float]
    learnt: Learnt | None
    predict: Predict
    combine: Combine


class RegistryModels:
    """Versions from the registry, and the embedded one, which needs no download.

    Args:
        objects: Cloud Storage.
        bucket: the registry's.
        embedded: the directory of the version that came with this service.
        load: makes a predictor of a directory.
        workers: batches of a version that are predicted at the same time.
        clock: seconds, for the looks at what is in production.

    """

    def __init__(
        self,
        objects: Objects,
        bucket: str,
        embedded: Path,
        load: Callable[[Path], Predictor],
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = Registry(objects, bucket, load_manifest(embedded).name)
        self._load_predictor = load
        self._workers = workers
        self._clock = clock
        self._embedded = self._current = self._ready(load(embedded))
        self._held: OrderedDict[str, LoadedModel] = OrderedDict()
        self._lock = Lock()  # of what is held: never kept while something loads
        self._loading = Lock()
        self._looking = Lock()
        self._next_look = float("-inf")
        self._refused: Pointer | None = None

    def pinned(self, version: str) -> LoadedModel:
        """As `services.inference.stage.Models`; loads the version where it is not held."""
        if model := self._find(version):
            return model
        with self._loading:
            # Another thread may have loaded it meanwhile.
            if model := self._find(version):
                return model
            model = self._fetch(version)
            with self._lock:
                self._held[version] = model
                while len(self._held) > HELD:
                    # Whoever still predicts with it holds it, and it goes when the last has finished.
                    self._held.popitem(last=False)
            return model

    def current(self) -> LoadedModel:
        """As `services.inference.stage.Models`; what was in production goes on until the new one is ready."""
        # Only one thread looks and loads; the others go on with what there is.
        if self._clock() >= self._next_look and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._next_look = self._clock() + LOOK_INTERVAL
                self._looking.release()
        return self._current

    def _look(self) -> None:
        pointer: Pointer | None = None
        try:
            pointer = self._registry.production()
            version = pointer.version if pointer and pointer.version else self._embedded.version
            if version == self._current.version or (pointer and pointer == self._refused):
                return
            self._current = self.pinned(version)
            _logger.info("model %s is in production: %s", version, pointer)
        except Exception as error:
            if isinstance(error, ModelError):
                # The same files would be refused again; all else may pass, and is tried again.
                self._refused = pointer
            _logger.exception("production cannot be loaded, %s serves on: %s", self._current.version, pointer)

    def _find(self, version: str) -> LoadedModel | None:
        for kept in (self._embedded, self._current):
            if version == kept.version:
                return kept
        with self._lock:
            if version in self._held:
                self._held.move_to_end(version)
            return self._held.get(version)

    def _fetch(self, version: str) -> LoadedModel:
        folder = Path(tempfile.mkdtemp(prefix="vitrine-model-"))
        try:
            directory = folder / "model"
            self._registry.fetch(version, directory)
            model = self._ready(self._load_predictor(directory))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        # A predictor reads its files for as long as it lives.
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
        _logger.info("model %s is loaded", version)
        return model

    def _ready(self, predictor: Predictor) -> LoadedModel:
        return LoadedModel(
            name=predictor.name,
            version=predictor.version,
            image_size=predictor.image_size,
            labels=predictor.labels,
            vocabulary=Vocabulary(predictor.labels),
            thresholds=predictor.thresholds,
            learnt=predictor.learnt,
            predict=Batcher(predictor, self._workers).predict,
            combine=predictor.combine,
        )
