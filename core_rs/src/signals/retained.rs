//! What operations keep of earlier values for those that look back.

use crate::numerics::lookback::Lookback;
use crate::numerics::rolling::PrefixSums;
use crate::plan::op::Op;
use crate::simd::bitmask::TILE;

/// An operation's earlier values, as the operations over it need them.
#[derive(Debug, Default)]
pub struct Kept {
    pub prefix: Option<PrefixSums>,
    pub history: Option<Lookback<f64>>,
}

impl Kept {
    /// What each operation must keep.
    pub fn all(ops: &[Op]) -> Vec<Self> {
        let (mut sums, mut shifts) = (vec![0; ops.len()], vec![0; ops.len()]);
        for op in ops {
            match *op {
                Op::Sma(input, length) => sums[input] = length.max(sums[input]),
                Op::Shift(input, bars) => shifts[input] = bars.max(shifts[input]),
                _ => {}
            }
        }
        let kept = sums.into_iter().zip(shifts).map(|(length, bars)| Self {
            prefix: (length > 0).then(|| PrefixSums::new(length)),
            history: (bars > 0).then(|| Lookback::new(bars, TILE, f64::NAN)),
        });
        kept.collect()
    }

    #[inline(always)]
    pub fn push(&mut self, values: &[f64], nan: bool) {
        if let Some(prefix) = &mut self.prefix {
            prefix.push(values, nan);
        }
        if let Some(history) = &mut self.history {
            history.next_tile(values.len()).copy_from_slice(values);
        }
    }

    pub fn is_none(&self) -> bool {
        self.prefix.is_none() && self.history.is_none()
    }
}

/// An operation that looks back farther than there are bars gives nothing, and need not keep more than them.
pub fn within(op: Op, bars: usize) -> Op {
    match op {
        Op::Sma(input, length) => Op::Sma(input, length.min(bars + 1)),
        Op::Shift(input, back) => Op::Shift(input, back.min(bars)),
        _ => op,
    }
}
