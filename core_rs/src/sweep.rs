//! Many runs of one strategy over one market, each with its own parameters: the twin of `python_core.optimize.sweep`.
//!
//! The combinations are cut into chunks, which are blocks of the parameter grid. The plans of a chunk are joined, so that each indicator
//! with the same parameters is computed once. Then each tile is evaluated, and every combination of the chunk simulated over it while the
//! tile is in the cache. Memory does not depend on the number of bars.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use crate::error::{Error, Result};
use crate::market::Market;
use crate::market::frame::Frame;
use crate::metrics::{self, MetricsInput, Periods, TradeSums, benchmark_returns};
use crate::plan::Outputs;
use crate::plan::template::{JoinedPlan, Template};
use crate::signals::evaluate::Evaluator;
use crate::signals::order_tile::{Carry, OrderTile};
use crate::signals::orders::Source;
use crate::simulation::Simulator;
use crate::simulation::account::Ledger;
use crate::simulation::drawdown::DrawdownTracker;
use crate::simulation::equity_curve::DrawdownCurve;
use crate::simulation::execution::Execution;
use crate::simulation::trade::Trade;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    pub market: Market<'a>,
    pub template: &'a Template,
    /// Parameters, one row of `template.params` values for each combination.
    pub combinations: &'a [f64],
    pub execution: &'a Execution,
    pub strategy_ms: i64,
    /// The first bar that is simulated; those before it are warm-up.
    pub first_bar: usize,
    pub needs: Needs,
    pub threads: usize,
}

/// What a sweep computes besides fills; metrics that need more are wrong or undefined, and not for use.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Equity at every bar, which drawdowns and the metrics of returns need.
    pub equity: bool,
    /// Sums over trades, which need more than their number.
    pub trades: bool,
}

/// Combinations in a chunk: enough to share indicators, and few enough that their state stays in the second-level cache.
const MAX_CHUNK: usize = 512;
/// The most equity values at period ends that a chunk may store.
const MAX_PERIOD_VALUES: usize = 1 << 22;

/// Counts trades, where nothing else of them is needed.
struct TradeCount<'a>(&'a mut TradeSums);

impl Ledger for TradeCount<'_> {
    #[inline(always)]
    fn record(&mut self, trade: &Trade) {
        self.0.count(trade.side > 0);
    }
}

impl Ledger for TradeSums {
    #[inline(always)]
    fn record(&mut self, trade: &Trade) {
        self.push(trade);
    }
}

/// Run every combination, and fill `values`, a row of `metrics::VALUES` for each, and `equity`, if it is not empty, with a row of the equity at
/// the end of each period. `poll` is called on every thread with the fraction done.
pub fn sweep(job: Sweep<'_>, values: &mut [f64], equity: &mut [f64], poll: &(dyn Fn(f64) -> Result<()> + Sync)) -> Result<()> {
    let params = job.template.params;
    let count = values.len() / metrics::VALUES;
    if job.first_bar >= job.market.len() || job.combinations.len() != count * params {
        return Err(Error::Input("values must have one row for each combination, and there must be bars".into()));
    }
    let simulated = job.market.from(job.first_bar);
    let periods = Periods::new(simulated.bars.time, simulated.timeframe_ms, job.execution.calendar);
    let benchmark = if job.needs.equity { benchmark_returns(&simulated, &periods) } else { Vec::new() };
    let period_ends = periods.ends();
    if !equity.is_empty() && (!job.needs.equity || equity.len() != count * period_ends.len()) {
        return Err(Error::Input("equity must have one row for each combination, of one value for each period".into()));
    }
    let threads = job.threads.clamp(1, count.max(1));
    let period_values = if job.needs.equity { period_ends.len().max(1) } else { 1 };
    let chunk = count.div_ceil(2 * threads).clamp(1, MAX_CHUNK).min((MAX_PERIOD_VALUES / period_values).max(1));
    let order = order_by_blocks(job.combinations, params, count, chunk);
    let done = AtomicUsize::new(0);
    let total = (count * job.market.len()) as f64;
    let chunks = Mutex::new(order.chunks(chunk));
    let results = Mutex::new((values, equity));
    let first_error = Mutex::new(None);
    let next = || chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(rows) = next() {
            let combinations: Vec<&[f64]> = rows.iter().map(|&row| &job.combinations[row * params..(row + 1) * params]).collect();
            let poll = |bars: usize| {
                let bars = bars * rows.len();
                poll((done.fetch_add(bars, Relaxed) + bars) as f64 / total)
            };
            match run_chunk(&job, &period_ends, &benchmark, &combinations, &poll) {
                Ok(found) => {
                    let (values, equity) = &mut *results.lock().unwrap_or_else(PoisonError::into_inner);
                    for (&row, (found, periods)) in rows.iter().zip(found) {
                        values[row * metrics::VALUES..(row + 1) * metrics::VALUES].copy_from_slice(&found);
                        if !equity.is_empty() {
                            equity[row * periods.len()..(row + 1) * periods.len()].copy_from_slice(&periods);
                        }
                    }
                }
                Err(error) => {
                    first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // If the system has no more threads, fewer do the work.
            if Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The order of combinations, block of the grid by block, in which neighbours share parameter values, so that a chunk has few different
/// indicators.
fn order_by_blocks(combinations: &[f64], params: usize, count: usize, chunk: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if count <= chunk {
        return order;
    }
    let axes: Vec<Vec<f64>> = (0..params)
        .map(|param| {
            let mut axis: Vec<f64> = combinations.iter().skip(param).step_by(params).copied().collect();
            axis.sort_unstable_by(f64::total_cmp);
            axis.dedup();
            axis
        })
        .collect();
    let sides = |side: usize| axes.iter().map(move |axis| axis.len().min(side));
    let side = (1..=chunk).take_while(|&side| sides(side).product::<usize>() <= chunk).last().unwrap_or(1);
    order.sort_by_cached_key(|&row| {
        axes.iter().zip(&combinations[row * params..(row + 1) * params]).fold(0, |key: u64, (axis, value)| {
            let place = axis.partition_point(|other| other.total_cmp(value).is_lt());
            key.wrapping_mul(axis.len().div_ceil(side) as u64).wrapping_add((place / side) as u64)
        })
    });
    order
}

/// One combination's state between tiles.
struct Run<'a> {
    outputs: Outputs,
    carry: Carry,
    simulator: Simulator<'a>,
    trade_sums: TradeSums,
    curve: DrawdownCurve<'a>,
}

/// The metrics of each combination of a chunk, and its equity at the ends of periods.
fn run_chunk(
    job: &Sweep<'_>,
    period_ends: &[usize],
    benchmark: &[f64],
    combinations: &[&[f64]],
    poll: &dyn Fn(usize) -> Result<()>,
) -> Result<Vec<(Vec<f64>, Vec<f64>)>> {
    let (market, execution) = (job.market, job.execution);
    let simulated = market.from(job.first_bar);
    let simulator = Simulator::new(simulated, execution, execution.levels, false);
    let order_needs = execution.order_needs(&execution.levels);
    let has_levels = job.template.outputs.levels.iter().any(Option::is_some);
    let is_plain = job.strategy_ms == market.timeframe_ms && job.first_bar == 0 && order_needs.are_orders_at_open() && !has_levels;
    let with_crossings = if is_plain { job.template.with_crossings() } else { None };
    let template = with_crossings.as_ref().unwrap_or(job.template);
    let mut joined = JoinedPlan::default();
    let mut runs = Vec::with_capacity(combinations.len());
    for params in combinations {
        runs.push(Run {
            outputs: template.instantiate(params, &mut joined)?,
            carry: Carry::default(),
            simulator: simulator.clone(),
            trade_sums: TradeSums::default(),
            curve: DrawdownCurve {
                drawdown: DrawdownTracker::new(execution.initial_capital, simulated.bars.time),
                periods: Vec::with_capacity(if job.needs.equity { period_ends.len() } else { 0 }),
                ends: if job.needs.equity { period_ends } else { &[] },
            },
        });
    }
    let mut ignored_curve = if job.needs.equity { None } else { simulator.ignored_curve() };
    let mut evaluator = Evaluator::new(&joined.ops, &joined.timeframes_ms, &market, job.strategy_ms, execution.fill_at_close)?;
    let mut tile = OrderTile::new(&template.outputs, Source::Plan, order_needs, job.first_bar);
    let mut frame = Frame::new(market, job.strategy_ms, job.first_bar)?;
    while frame.advance() {
        evaluator.run(&frame);
        for bars in frame.base_tiles() {
            poll(bars.len())?;
            if bars.start < job.first_bar {
                continue;
            }
            for run in &mut runs {
                tile.assemble(&frame, bars.clone(), &evaluator, &run.outputs, Source::Plan, &mut run.carry);
                match &mut ignored_curve {
                    Some(curve) if !job.needs.trades => run.simulator.run(&tile, &mut TradeCount(&mut run.trade_sums), curve),
                    Some(curve) => run.simulator.run(&tile, &mut run.trade_sums, curve),
                    None => run.simulator.run(&tile, &mut run.trade_sums, &mut run.curve),
                }
            }
        }
    }
    let results = runs.into_iter().map(|run| {
        let values = metrics::compute(&MetricsInput {
            drawdown: job.needs.equity.then(|| run.curve.drawdown.maximum()),
            ..MetricsInput::new(&run.simulator.trader, &run.trade_sums, &run.curve.periods, benchmark)
        });
        (values, run.curve.periods)
    });
    Ok(results.collect())
}

#[cfg(test)]
mod tests {
    use super::order_by_blocks;

    #[test]
    fn a_chunk_has_few_values_of_every_parameter() {
        let grid: Vec<f64> = (0..60).flat_map(|a| (0..90).flat_map(move |b| [f64::from(a), f64::from(b) / 2.0])).collect();
        let order = order_by_blocks(&grid, 2, 60 * 90, 512);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..60 * 90).collect::<Vec<_>>());
        for chunk in order.chunks(512) {
            let mut values: Vec<(usize, u64)> = chunk
                .iter()
                .flat_map(|row| (0..2).map(move |param| (param, row)))
                .map(|(param, row)| (param, grid[2 * row + param].to_bits()))
                .collect();
            values.sort_unstable();
            values.dedup();
            assert!(values.len() <= 3 * 23 + 23, "{} values", values.len());
        }
    }

    #[test]
    fn order_changes_only_if_there_are_several_chunks() {
        assert_eq!(order_by_blocks(&[3.0, 1.0, 2.0], 1, 3, 512), [0, 1, 2]);
        assert_eq!(order_by_blocks(&[3.0, 1.0, 2.0, 1.0], 1, 4, 2), [1, 2, 3, 0]);
    }
}
