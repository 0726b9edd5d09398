//! Earlier values, retained for operations that look back.

use crate::numerics::lookback::Lookback;
use crate::numerics::rolling::PrefixSums;
use crate::plan::op::Op;
use crate::simd::bitmask::TILE;

/// The earlier values of one operation, in the forms that others need.
#[derive(Debug, Default)]
pub struct Retained {
    pub sums: Option<PrefixSums>,
    pub values: Option<Lookback<f64>>,
}

impl Retained {
    /// For each operation, what others need.
    pub fn for_ops(ops: &[Op]) -> Vec<Self> {
        let (mut sums, mut shifts) = (vec![0; ops.len()], vec![0; ops.len()]);
        for op in ops {
            match *op {
                Op::Sma(input, length) => sums[input] = length.max(sums[input]),
                Op::Shift(input, bars) => shifts[input] = bars.max(shifts[input]),
                _ => {}
            }
        }
        let retained = sums.into_iter().zip(shifts).map(|(length, bars)| Self {
            sums: (length > 0).then(|| PrefixSums::new(length)),
            values: (bars > 0).then(|| Lookback::new(bars, TILE, f64::NAN)),
        });
        retained.collect()
    }

    #[inline(always)]
    pub fn push(&mut self, values: &[f64], may_have_nan: bool) {
        if let Some(sums) = &mut self.sums {
            sums.push(values, may_have_nan);
        }
        if let Some(retained) = &mut self.values {
            retained.next_tile(values.len()).copy_from_slice(values);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.sums.is_none() && self.values.is_none()
    }
}

/// The operation with its lookback limited to the number of bars: a longer one gives no value either, and would waste memory.
pub fn limit_lookback(op: Op, bars: usize) -> Op {
    match op {
        Op::Sma(input, length) => Op::Sma(input, length.min(bars + 1)),
        Op::Shift(input, back) => Op::Shift(input, back.min(bars)),
        _ => op,
    }
}
