"""A version's LiteRT file, asked for its embeddings; the only code of the audit that imports LiteRT."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.model.familiarity import EMBEDDING
from services.model.learnt import LEARNT_FILE, Learnt
from services.model.manifest import MODEL_FILE, ModelError, load_manifest


class LiteRTEmbedder:
    """Implements `services.audit.embeddings.Embedder`; a photo at a time on each CPU.

    Args:
        directory: a version's, as training wrote it or the registry has it.

    Raises:
        ModelError: there is no LiteRT file, or it gives no embedding.

    """

    def __init__(self, directory: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._manifest = load_manifest(directory)
        if MODEL_FILE not in self._manifest.files:
            raise ModelError(f"{directory} has no {MODEL_FILE}, which an audit takes the embeddings from")
        has_learnt = LEARNT_FILE in self._manifest.files
        self.learnt = Learnt.load(directory / LEARNT_FILE) if has_learnt else None
        self._interpreter = partial(Interpreter, model_path=str(directory / MODEL_FILE), num_threads=1)
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1)
        try:
            self._width = self._one(np.zeros((self.image_size, self.image_size, 3), np.uint8)).shape[1]
        except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
            raise ModelError(f"{directory / MODEL_FILE} is refused: {error}") from error

    @property
    def name(self) -> str:  # noqa: D102
        return self._manifest.name

    @property
    def version(self) -> str:  # noqa: D102
        return self._manifest.version

    @property
    def image_size(self) -> int:  # noqa: D102
        return self._manifest.image_size

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: D102
        return np.concatenate([np.empty((0, self._width), np.float32), *self._threads.map(self._one, images)])

    def _one(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        # An interpreter is not thread-safe.
        if not hasattr(self._local, "runner"):
            self._local.runner = self._interpreter().get_signature_runner()
        outputs: dict[str, Any] = self._local.runner(pixels=image[np.newaxis])
        return np.asarray(outputs[EMBEDDING], np.float32)
