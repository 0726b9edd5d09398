//! NumPy arrays, borrowed for one call.

use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::market::{Market, columns};

pub type Floats<'py> = PyReadonlyArray1<'py, f64>;
pub type Integers<'py> = PyReadonlyArray1<'py, i64>;
/// Booleans as bytes, because a byte other than 0 and 1 is not a valid `bool`.
pub type Mask<'py> = Option<PyReadonlyArray1<'py, u8>>;

/// The columns of `Bars`, borrowed for one call.
#[derive(FromPyObject)]
pub struct Columns<'py>(Integers<'py>, Floats<'py>, Floats<'py>, Floats<'py>, Floats<'py>, Floats<'py>);

/// Times with a value for each, such as funding rates.
pub type Series<'py> = Option<(Integers<'py>, Floats<'py>)>;
pub type Mark<'py> = Option<(Floats<'py>, Floats<'py>)>;

pub fn market<'a>(
    columns: &'a Columns<'_>,
    funding: &'a Series<'_>,
    mark: &'a Mark<'_>,
    benchmark: &'a Series<'_>,
    timeframe_ms: i64,
) -> PyResult<Market<'a>> {
    let Columns(time, open, high, low, close, volume) = columns;
    let bars = columns::Columns {
        time: time.as_slice()?,
        open: open.as_slice()?,
        high: high.as_slice()?,
        low: low.as_slice()?,
        close: close.as_slice()?,
        volume: volume.as_slice()?,
    };
    let market = Market {
        bars,
        mark: mark.as_ref().map(|(low, high)| Ok::<_, PyErr>((low.as_slice()?, high.as_slice()?))).transpose()?,
        funding: funding.as_ref().map(slices).transpose()?,
        benchmark: benchmark.as_ref().map(slices).transpose()?,
        timeframe_ms,
    };
    let n = market.len();
    let same_length =
        [market.bars.open, market.bars.high, market.bars.low, market.bars.close, market.bars.volume].iter().all(|column| column.len() == n)
            && market.mark.is_none_or(|(low, high)| low.len() == n && high.len() == n)
            && [market.funding, market.benchmark].into_iter().flatten().all(|(time, values)| time.len() == values.len());
    if n == 0 || !same_length || timeframe_ms <= 0 {
        return Err(PyValueError::new_err("bars: the columns differ in length or are empty"));
    }
    Ok(market)
}

fn slices<'a>((time, values): &'a (Integers<'_>, Floats<'_>)) -> PyResult<(&'a [i64], &'a [f64])> {
    Ok((time.as_slice()?, values.as_slice()?))
}

/// The memory of all columns.
pub fn buffers<'a>(market: &Market<'a>) -> Vec<&'a [u8]> {
    let (bars, mark) = (market.bars, market.mark.unwrap_or_default());
    let (funding, benchmark) = (market.funding.unwrap_or_default(), market.benchmark.unwrap_or_default());
    let floats = [bars.open, bars.high, bars.low, bars.close, bars.volume, mark.0, mark.1, funding.1, benchmark.1];
    floats.into_iter().map(bytemuck::cast_slice).chain([bars.time, funding.0, benchmark.0].map(bytemuck::cast_slice)).collect()
}

/// Borrow checks of NumPy arrays look at the objects that own the memory, and the same memory may have several owners.
pub fn check_no_overlap(written: &[u8], read: &[&[u8]]) -> PyResult<()> {
    let written = written.as_ptr_range();
    if read.iter().map(|read| read.as_ptr_range()).any(|read| written.start < read.end && read.start < written.end) {
        return Err(PyValueError::new_err("an output array shares memory with an input array"));
    }
    Ok(())
}
