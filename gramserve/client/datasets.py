"""Data sets on a server."""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from numpy.typing import ArrayLike, NDArray
from tqdm.auto import tqdm

from gramserve.client.cards import html_card, size_text, text_card
from gramserve.client.connection import Connection
from gramserve.client.items import check_finite, items_of, npy_header, npy_pieces
from gramserve.spec import PreprocessingRecipe, ResultDtype, parse_preprocess, parse_recipe
from gramserve.spec.status import DatasetInfo, Preprocessing

type Data = Dataset | str | os.PathLike[str] | ArrayLike
"""A data set: an object of this client, its digest, an `.npy` file or an array."""

PLACEHOLDER = "0" * 64
"""Stands for the digest of what is not uploaded yet while the rest of a body is checked."""

_BAR_FROM_BYTES = 16 * 2**20
_PREPROCESS_TIMEOUT_S = 3600.0
_DIGEST = re.compile(r"[0-9a-f]{64}")


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
        """SHA-256 that names the content, or how it was made; 64 hexadecimal digits."""
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
        """When it was first uploaded or made."""
        return self.info.created

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How it was made from another data set; None when it was uploaded."""
        return self.info.preprocessing

    def preprocess(
        self,
        recipe: str | Mapping[str, Any] | PreprocessingRecipe,
        *,
        fit: "Data | None" = None,
        dtype: ResultDtype = "float32",
        name: str | None = None,
    ) -> "Dataset":
        """Make a data set from this one, at the server.

        Parameters
        ----------
        recipe, fit, dtype, name
            As in :meth:`Datasets.preprocess`.

        Returns
        -------
        Dataset
            The new one.
        """
        datasets = Datasets(self._connection)
        return datasets.preprocess(self, recipe, fit=fit, dtype=dtype, name=name)

    def delete(self) -> None:
        """Delete it from the server, which refuses while something is built on it."""
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
            "preprocessed": None if self.preprocessing is None else _made(self.preprocessing),
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

    def preprocess(
        self,
        data: Data,
        recipe: str | Mapping[str, Any] | PreprocessingRecipe,
        *,
        fit: Data | None = None,
        dtype: ResultDtype = "float32",
        name: str | None = None,
        timeout_s: float = _PREPROCESS_TIMEOUT_S,
    ) -> Dataset:
        """Make a data set from another, at the server; the same request is computed once.

        Parameters
        ----------
        data : Dataset, digest, path or array_like
            Items; files and arrays are uploaded.
        recipe : str, mapping or PreprocessingRecipe
            The name of a recipe, a name with options, or steps.
        fit : Dataset, digest, path or array_like, optional
            Items that fitted steps take their statistics from: the training images, when
            ``data`` are test images. ``data`` itself when not given.
        dtype : {"float32", "float64"}
            Of the result.
        name : str, optional
            For people.
        timeout_s : float
            Seconds to wait for the server.

        Returns
        -------
        Dataset
            Named by ``data``, ``fit``, ``recipe`` and ``dtype``.

        Raises
        ------
        SpecError
            When recipe or dtype are wrong, found here before anything is sent, or the recipe
            does not fit the items.
        MemoryBudgetError
            When items have too many values to be whitened.
        StoreNotFoundError
            When there is no such data set.
        """
        body: dict[str, Any] = {
            "dataset": digest_of_data(data) or PLACEHOLDER,
            "fit": None if fit is None else digest_of_data(fit) or PLACEHOLDER,
            "recipe": recipe if isinstance(recipe, str) else parse_recipe(recipe).canonical(),
            "dtype": dtype,
            "name": name,
        }
        # Before a large upload, not after it: a misspelt step should cost nothing.
        parse_preprocess(body)
        body["dataset"] = self._uploaded(data)
        body["fit"] = None if fit is None else self._uploaded(fit)

        def once() -> Any:
            path = "/v1/datasets:preprocess"
            return self._connection.send("POST", path, json=body, timeout_s=timeout_s)

        # What is asked for names the data set, so asking twice is harmless.
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
            While Gram matrices or other data sets are built on it.
        """
        self._connection.send("DELETE", f"/v1/datasets/{digest}")

    def _uploaded(self, data: Data) -> str:
        known = digest_of_data(data)
        return known or self.upload(unsent(data)).digest

    def _wrap(self, body: Any) -> Dataset:
        return Dataset(self._connection, self._connection.read_body(DatasetInfo, body))


def digest_of_data(data: Data) -> str | None:
    """Return the digest of a data set that is on the server, None for files and arrays.

    Parameters
    ----------
    data : Dataset, digest, path or array_like
        As given.

    Returns
    -------
    str or None
        64 hexadecimal digits.
    """
    if isinstance(data, Dataset):
        return data.digest
    return str(data) if isinstance(data, str) and _DIGEST.fullmatch(data) else None


def unsent(data: Data) -> str | os.PathLike[str] | ArrayLike:
    """Return what is still to be uploaded; narrows the type only."""
    return data.digest if isinstance(data, Dataset) else data


def _made(how: Preprocessing) -> str:
    steps = " > ".join(str(step.get("type")) for step in how.recipe.get("steps", ()))
    fit = "" if how.fit in {None, how.source} else f", fitted on {str(how.fit)[:12]}"
    return f"{steps} of {how.source[:12]}{fit}"


def _counted(values: NDArray[Any], bar: Any) -> Any:
    for piece in npy_pieces(values):
        yield piece
        bar.update(len(piece))
