"""Data sets on a server."""

import os
from datetime import datetime
from typing import Any

from numpy.typing import ArrayLike, NDArray
from tqdm.auto import tqdm

from gramserve.client.cards import html_card, size_text, text_card
from gramserve.client.connection import Connection
from gramserve.client.items import check_finite, items_of, npy_header, npy_pieces
from gramserve.spec.status import DatasetInfo

_BAR_FROM_BYTES = 16 * 2**20


class Dataset:
    """Items on a server, named by their content.

    Parameters
    ----------
    connection : Connection
        To the server.
    info : DatasetInfo
        What the server says about it.
    """

    def __init__(self, connection: Connection, info: DatasetInfo) -> None:
        self._connection = connection
        self.info = info

    @property
    def digest(self) -> str:
        """SHA-256 that names the content, 64 hexadecimal digits."""
        return self.info.digest

    @property
    def shape(self) -> tuple[int, ...]:
        """Items first, then the shape of one item."""
        return self.info.shape

    @property
    def dtype(self) -> str:
        """NumPy name."""
        return self.info.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the items."""
        return self.info.bytes

    @property
    def name(self) -> str | None:
        """What the uploader called it."""
        return self.info.name

    @property
    def created(self) -> datetime | None:
        """When it was first uploaded."""
        return self.info.created

    def delete(self) -> None:
        """Delete it from the server, which refuses while Gram matrices are built on it."""
        self._connection.send("DELETE", f"/v1/datasets/{self.digest}")

    def __len__(self) -> int:
        return self.info.items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return text_card(self._title(), self._facts())

    def _repr_html_(self) -> str:
        return html_card(self._title(), self._facts())

    def _title(self) -> str:
        return f"Dataset {self.name}" if self.name else "Dataset"

    def _facts(self) -> dict[str, object]:
        return {
            "digest": self.digest,
            "shape": " x ".join(str(length) for length in self.shape),
            "dtype": f"{self.dtype} ({size_text(self.nbytes)})",
            "created": self.created,
        }


class Datasets:
    """The data sets of a server.

    Parameters
    ----------
    connection : Connection
        To the server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def upload(
        self,
        source: ArrayLike | str | os.PathLike[str],
        name: str | None = None,
        *,
        progress: bool | None = None,
    ) -> Dataset:
        """Send items to the server; sending the same items again changes nothing.

        Parameters
        ----------
        source : array_like or path, shape (n, H, W, C), (n, D) or (n, L, C)
            Items, or an `.npy` file of them; any real dtype, order and endianness. Nothing is
            scaled: what you pass is what is used.
        name : str, optional
            For people; the content alone decides the digest.
        progress : bool, optional
            Show a bar; above 16 MiB when not given.

        Returns
        -------
        Dataset
            As the server names it.

        Raises
        ------
        UnsupportedDtypeError, InvalidDataError
            Found here, before anything is sent.
        QuotaError
            When it is larger than the server takes.
        """
        values = items_of(source)
        check_finite(values)
        length = len(npy_header(values)) + values.nbytes
        headers = {"Content-Type": "application/x-npy", "Content-Length": str(length)}
        show = length >= _BAR_FROM_BYTES if progress is None else progress

        def once() -> Any:
            with tqdm(
                total=length, unit="B", unit_scale=True, desc="upload", disable=not show
            ) as bar:
                return self._connection.send(
                    "POST",
                    "/v1/datasets",
                    content=_counted(values, bar),
                    headers=headers,
                    params={} if name is None else {"name": name},
                )

        # The content names the data set, so sending it twice is harmless.
        return self._wrap(self._connection.repeat(once))

    def list(self) -> "list[Dataset]":
        """Return all data sets.

        Returns
        -------
        list of Dataset
            As the server orders them.
        """
        return [self._wrap(body) for body in self._connection.get_list("/v1/datasets")]

    def get(self, digest: str) -> Dataset:
        """Return one data set.

        Parameters
        ----------
        digest : str
            64 hexadecimal digits.

        Returns
        -------
        Dataset
            The data set.

        Raises
        ------
        StoreNotFoundError
            When there is none.
        """
        return self._wrap(self._connection.get(f"/v1/datasets/{digest}"))

    def delete(self, digest: str) -> None:
        """Delete one data set.

        Parameters
        ----------
        digest : str
            64 hexadecimal digits.

        Raises
        ------
        ConflictError
            While Gram matrices are built on it.
        """
        self._connection.send("DELETE", f"/v1/datasets/{digest}")

    def _wrap(self, body: Any) -> Dataset:
        return Dataset(self._connection, self._connection.read_body(DatasetInfo, body))


def _counted(values: NDArray[Any], bar: Any) -> Any:
    for piece in npy_pieces(values):
        yield piece
        bar.update(len(piece))
