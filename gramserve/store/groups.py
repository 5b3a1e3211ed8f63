"""Several Gram matrices of one computation in one place: a Zarr group."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gramserve.errors import StoreMismatchError
from gramserve.store.files import PARTIAL, StagedFile, reporting
from gramserve.store.header import METADATA

FORMAT = "gramserve.grams/1"
"""Version of the stored form."""


def create_gram_group(
    path: Path | str, kernels: Sequence[str], attributes: Mapping[str, Any] | None = None
) -> dict[str, Path]:
    """Create a Zarr group for the Gram matrices of several kernels, or open it again.

    Parameters
    ----------
    path : Path or str
        Directory of the group; parents are made.
    kernels : sequence of str
        Names of the arrays, for example ``("nngp", "ntk")``.
    attributes : mapping, optional
        What the matrices have in common, as JSON.

    Returns
    -------
    dict of str to Path
        Where to create the array of every kernel.

    Raises
    ------
    StoreMismatchError
        If the directory holds something else.
    StoreError
        If the directory cannot be written.

    Examples
    --------
    ::

        for name, where in create_gram_group("out.zarr", ["nngp", "ntk"]).items():
            GramStore.create(where, ...)
    """
    path = Path(path)
    own = {"format": FORMAT, "kernels": list(kernels), "description": dict(attributes or {})}
    metadata = {"zarr_format": 3, "node_type": "group", "attributes": {"gramserve": own}}
    content = json.dumps(metadata, indent=2, allow_nan=False).encode()
    file = path / METADATA
    with reporting("create", path):
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    if METADATA not in names:
        if foreign := sorted(name for name in names if not name.endswith(PARTIAL)):
            raise StoreMismatchError(
                f"{path} is not empty and holds no Gram matrices (it has {foreign[0]}); give "
                "another path",
                path=str(path),
            )
        with StagedFile(file, [content]) as staged:
            staged.commit_new()
    with reporting("read", file):
        found = file.read_bytes()
    if found != content:
        raise StoreMismatchError(
            f"{path} holds something else than the Gram matrices {', '.join(kernels)} asked for; "
            "give another path or remove it",
            path=str(path),
        )
    return {kernel: path / kernel for kernel in kernels}
