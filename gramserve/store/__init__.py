"""Where numbers lie: data sets, transforms, variances and Gram matrices, as Zarr arrays on disk.

The only room that knows Zarr. What is stored is whole or absent, carries checksums, and never
reads as NaN where it is missing.
"""

from gramserve.store.adoption import adopt_block
from gramserve.store.dataset_header import DatasetRecord
from gramserve.store.datasets import DatasetStore, StoredItems
from gramserve.store.gram import GramStore
from gramserve.store.groups import create_gram_group
from gramserve.store.inspection import drop_damaged_blocks, drop_if_damaged
from gramserve.store.layout import StateLayout
from gramserve.store.npy import open_npy
from gramserve.store.selection import resolve
from gramserve.store.transforms import TransformStore
from gramserve.store.variances import VarianceStore
from gramserve.store.whole_rows import WholeRows

__all__ = [
    "DatasetRecord",
    "DatasetStore",
    "GramStore",
    "StateLayout",
    "StoredItems",
    "TransformStore",
    "VarianceStore",
    "WholeRows",
    "adopt_block",
    "create_gram_group",
    "drop_damaged_blocks",
    "drop_if_damaged",
    "open_npy",
    "resolve",
]
