"""Where everything lies in a state directory."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gramserve.errors import StoreError, StoreNotFoundError

_GRAM_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class StateLayout:
    """The paths of a state directory.

    ::

        root/
          catalog.sqlite        who asked for what, how far
          datasets/DIGEST/      items and their digests
          transforms/KEY/       constants of fitted recipes of preprocessing
          variances/KEY/        self-kernels of the items, per data set and kernel
          grams/ID/             Gram matrices, Zarr arrays
          uploads/              bodies still arriving

    Parameters
    ----------
    root : Path
        The state directory; made absolute.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).expanduser().absolute())

    @property
    def catalog(self) -> Path:
        """The SQLite file of the catalog."""
        return self.root / "catalog.sqlite"

    @property
    def datasets(self) -> Path:
        """Directory of the data sets."""
        return self.root / "datasets"

    @property
    def transforms(self) -> Path:
        """Directory of the fitted recipes."""
        return self.root / "transforms"

    @property
    def variances(self) -> Path:
        """Directory of the variances."""
        return self.root / "variances"

    @property
    def grams(self) -> Path:
        """Directory of the Gram matrices."""
        return self.root / "grams"

    @property
    def uploads(self) -> Path:
        """Directory of the bodies that are still arriving."""
        return self.root / "uploads"

    def gram(self, gram_id: str) -> Path:
        """Return the path of a Gram matrix.

        Parameters
        ----------
        gram_id : str
            32 hexadecimal digits.

        Returns
        -------
        Path
            Whether or not it exists.

        Raises
        ------
        StoreNotFoundError
            If this cannot be an id, so that nothing outside the directory is ever named.
        """
        if not _GRAM_ID.fullmatch(gram_id):
            raise StoreNotFoundError(
                f"no Gram matrix {gram_id!r}: an id has 32 hexadecimal digits", gram=gram_id
            )
        return self.grams / gram_id

    def gram_ids(self) -> list[str]:
        """List the Gram matrices that lie here, whether or not the catalog knows them.

        Returns
        -------
        list of str
            Sorted.
        """
        try:
            names = [entry.name for entry in self.grams.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if _GRAM_ID.fullmatch(name))

    def ensure(self) -> None:
        """Create the directories that are missing.

        Raises
        ------
        StoreError
            If one cannot be created or written to.
        """
        inside = (self.datasets, self.transforms, self.variances, self.grams, self.uploads)
        for folder in (self.root, *inside):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"cannot create the state directory {folder}: {_reason(folder, error)}; "
                    "move it away or choose another with GRAMSERVE_DATA_DIR or --data-dir",
                    path=str(folder),
                ) from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise StoreError(
                    f"cannot write to the state directory {folder}; change its owner or mode, or "
                    "choose another with GRAMSERVE_DATA_DIR or --data-dir",
                    path=str(folder),
                )


def _reason(folder: Path, error: OSError) -> str:
    for path in (folder, *folder.parents):
        if path.is_symlink() and not path.exists():
            return f"{path} is a link to nothing"
        if path.exists():
            return f"{path} is a file" if not path.is_dir() else str(error.strerror)
    return str(error.strerror)
