"""Where numbers lie: data sets, transforms, variances and Gram matrices, as Zarr arrays on disk.

The only room that knows Zarr. What is stored is whole or absent, carries checksums, and never
reads as NaN where it is missing.
"""

from gramserve.store.adoption import adopt_block
from gramserve.store.block_masks import (
    Mask,
    masked_blocks,
    stored_canonical,
    stored_mask,
    wanted_mask,
)
from gramserve.store.dataset_header import DatasetRecord
from gramserve.store.datasets import DatasetStore, StoredItems
from gramserve.store.disk_use import DiskUse, SharedUse, measure, occupied_bytes
from gramserve.store.eviction import EvictedGram, sweep_evicted
from gramserve.store.gram import GramStore
from gramserve.store.groups import create_gram_group
from gramserve.store.header import GramHeader
from gramserve.store.inspection import drop_damaged_blocks, drop_if_damaged
from gramserve.store.item_axis import ItemAxis, axis_of, read_axis
from gramserve.store.layout import StateLayout
from gramserve.store.npy import open_npy
from gramserve.store.selection import resolve
from gramserve.store.shared_blocks import BlockSource, TakenBlock, block_sources
from gramserve.store.transforms import TransformStore
from gramserve.store.variances import VarianceStore
from gramserve.store.verification import VerifiedBlock, verify_blocks, verify_or_drop
from gramserve.store.whole_rows import WholeRows

__all__ = [
    "BlockSource",
    "DatasetRecord",
    "DatasetStore",
    "DiskUse",
    "EvictedGram",
    "GramHeader",
    "GramStore",
    "ItemAxis",
    "Mask",
    "SharedUse",
    "StateLayout",
    "StoredItems",
    "TakenBlock",
    "TransformStore",
    "VarianceStore",
    "VerifiedBlock",
    "WholeRows",
    "adopt_block",
    "axis_of",
    "block_sources",
    "create_gram_group",
    "drop_damaged_blocks",
    "drop_if_damaged",
    "masked_blocks",
    "measure",
    "occupied_bytes",
    "open_npy",
    "read_axis",
    "resolve",
    "stored_canonical",
    "stored_mask",
    "sweep_evicted",
    "verify_blocks",
    "verify_or_drop",
    "wanted_mask",
]
