"""What is written down about a data set, beside its items."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

FORMAT = "gramserve.dataset/1"
"""Version of the stored form."""


@dataclass(frozen=True)
class DatasetRecord:
    """One stored data set."""

    digest: str
    """SHA-256 that names the content, or how it was preprocessed; 64 hexadecimal digits."""
    shape: tuple[int, ...]
    """Items first, then the shape of one item."""
    dtype: str
    """NumPy name, for example "uint8"."""
    items: int
    """How many items."""
    bytes: int
    """Size of the items."""
    name: str | None
    """What the first to add it called it."""
    created: datetime
    """When it was added, UTC."""
    known: bool = False
    """Whether it was there before it was added."""
    preprocessing: Mapping[str, Any] | None = None
    """``source``, ``fit``, ``recipe`` and ``dtype`` of a data set that was made from another."""
    content: str | None = None
    """SHA-256 that names the content, where ``digest`` does not."""


def write_header(record: DatasetRecord) -> bytes:
    """Return the metadata of the Zarr group of a data set.

    Parameters
    ----------
    record : DatasetRecord
        What there is to say.

    Returns
    -------
    bytes
        JSON.
    """
    own: dict[str, Any] = {
        "format": FORMAT,
        "shape": list(record.shape),
        "dtype": record.dtype,
        "bytes": record.bytes,
        "name": record.name,
        "created": record.created.isoformat(),
    }
    if record.preprocessing is not None:
        own |= {"preprocessing": dict(record.preprocessing), "content": record.content}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"gramserve": own}}
    return json.dumps(group, indent=2).encode()


def read_header(digest: str, metadata: bytes) -> DatasetRecord:
    """Return what the metadata of a data set say.

    Parameters
    ----------
    digest : str
        Its name.
    metadata : bytes
        As :func:`write_header` returned them.

    Returns
    -------
    DatasetRecord
        With ``known`` false.

    Raises
    ------
    ValueError, KeyError, TypeError, IndexError
        When they are something else.
    """
    said = json.loads(metadata)["attributes"]["gramserve"]
    return DatasetRecord(
        digest=digest,
        shape=tuple(int(n) for n in said["shape"]),
        dtype=str(said["dtype"]),
        items=int(said["shape"][0]),
        bytes=int(said["bytes"]),
        name=said["name"],
        created=datetime.fromisoformat(said["created"]),
        preprocessing=said.get("preprocessing"),
        content=said.get("content"),
    )
