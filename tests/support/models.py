"""The folder of real models that `make models` fills; tests that need one are skipped without."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.models import MANIFEST_NAME, ModelManifest

FOLDER = Path(__file__).parents[2] / "build" / "models"

needs_models = pytest.mark.skipif(
    not (FOLDER / MANIFEST_NAME).exists(), reason="no models: run `make models`"
)


def manifest() -> ModelManifest:
    return ModelManifest.model_validate_json((FOLDER / MANIFEST_NAME).read_bytes())
