//! Many runs of one strategy over one market, each with its own parameters.
//!
//! Combinations are taken in chunks. A chunk's plans are joined, so that every distinct indicator is computed once; then tile after tile is
//! evaluated, and every combination simulated over it while it is in the cache. Memory is that of a chunk, whatever the number of bars.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::account::Ledger;
use crate::bits::TILE;
use crate::curve::{Followed, Ignored};
use crate::drawdown::Drawdown;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::market::Market;
use crate::metrics::{self, MetricsInput, Periods, TradeTally};
use crate::plan::Outputs;
use crate::rules::Rules;
use crate::signals::{Carry, OrderTile, Source, Wanted};
use crate::simulate::Simulator;
use crate::strategy_bars::Frame;
use crate::template::{Joint, Template};
use crate::trade::Trade;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    pub market: Market<'a>,
    pub template: &'a Template,
    /// Parameters, one row of `template.params` values for each combination.
    pub combinations: &'a [f64],
    pub rules: &'a Rules,
    pub timeframe_ms: i64,
    /// Whether to follow equity from bar to bar, which drawdowns and the metrics of returns need.
    pub risk: bool,
    pub threads: usize,
}

/// Combinations in a chunk: enough to share indicators, few enough for their state to stay in the second-level cache.
const CHUNK: usize = 512;
/// Values of equity at period ends that a chunk may keep.
const PERIOD_VALUES: usize = 1 << 22;

impl Ledger for TradeTally {
    #[inline(always)]
    fn record(&mut self, trade: &Trade) {
        self.push(trade);
    }
}

/// Run every combination; `values` has a row of `metrics::VALUES` for each. `poll` is called on every thread with the fraction done.
pub fn sweep(job: Sweep<'_>, values: &mut [f64], poll: &(dyn Fn(f64) -> Result<()> + Sync)) -> Result<()> {
    let width = job.template.params;
    let count = values.len() / metrics::VALUES;
    if job.market.is_empty() || job.combinations.len() != count * width {
        return Err(Error::Input("values needs one row for each combination, and there must be bars".into()));
    }
    let period_ends = Periods::new(job.market.time, job.market.timeframe_ms).ends();
    let threads = job.threads.clamp(1, count.max(1));
    let kept = if job.risk { period_ends.len().max(1) } else { 1 };
    let chunk = count.div_ceil(2 * threads).clamp(1, CHUNK).min((PERIOD_VALUES / kept).max(1));
    let done = AtomicUsize::new(0);
    let total = (count * job.market.len()) as f64;
    let chunks = Mutex::new(values.chunks_mut(chunk * metrics::VALUES).enumerate());
    let fault = Mutex::new(None);
    let work = || {
        while let Some((k, values)) = chunks.lock().unwrap_or_else(PoisonError::into_inner).next() {
            let rows = values.len() / metrics::VALUES;
            let combinations = &job.combinations[k * chunk * width..(k * chunk + rows) * width];
            let poll = |bars: usize| poll((done.fetch_add(bars * rows, Relaxed) + bars * rows) as f64 / total);
            if let Err(error) = run_chunk(&job, &period_ends, combinations, values, &poll) {
                fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    fault.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// One combination's state between tiles.
struct Run<'a> {
    outputs: Outputs,
    carry: Carry,
    simulator: Simulator<'a>,
    tally: TradeTally,
    curve: Followed<'a>,
}

fn run_chunk(
    job: &Sweep<'_>,
    period_ends: &[usize],
    combinations: &[f64],
    values: &mut [f64],
    poll: &dyn Fn(usize) -> Result<()>,
) -> Result<()> {
    let (market, rules) = (job.market, job.rules);
    let simulator = Simulator::new(market, rules);
    let mut joint = Joint::default();
    let rows = values.len() / metrics::VALUES;
    let mut runs = Vec::with_capacity(rows);
    for row in 0..rows {
        let params = &combinations[row * job.template.params..(row + 1) * job.template.params];
        runs.push(Run {
            outputs: job.template.fill(params, &mut joint)?,
            carry: Carry::default(),
            simulator: simulator.clone(),
            tally: TradeTally::default(),
            curve: Followed {
                drawdown: Drawdown::new(rules.capital, market.time),
                periods: Vec::with_capacity(if job.risk { period_ends.len() } else { 0 }),
                ends: if job.risk { period_ends } else { &[] },
            },
        });
    }
    let ignores_equity = !job.risk && simulator.may_ignore_equity();
    let mut evaluator = Evaluator::new(&joint.ops, &joint.frames, &market, job.timeframe_ms)?;
    let mut tile = OrderTile::new(&runs.first().map(|run| run.outputs).unwrap_or_default());
    let wanted = Wanted { at_close: rules.fill_at_close, due: rules.max_bars.is_some() };
    let mut frame = Frame::new(market, job.timeframe_ms)?;
    while frame.advance() {
        evaluator.run(&frame);
        for start in (frame.start..frame.end).step_by(TILE) {
            let part = start..(start + TILE).min(frame.end);
            poll(part.len())?;
            for run in &mut runs {
                tile.assemble(&frame, part.clone(), &evaluator, &run.outputs, Source::Plan, wanted, &mut run.carry);
                if ignores_equity {
                    run.simulator.run(&tile, &mut run.tally, &mut Ignored);
                } else {
                    run.simulator.run(&tile, &mut run.tally, &mut run.curve);
                }
            }
        }
    }
    for (run, values) in runs.iter().zip(values.chunks_exact_mut(metrics::VALUES)) {
        let account = &run.simulator.trader.account;
        let tally = account.tally;
        values.copy_from_slice(&metrics::compute(&MetricsInput {
            final_equity: account.balance,
            bars: market.len(),
            span_ms: market.time[market.len() - 1] - market.time[0] + market.timeframe_ms,
            timeframe_ms: market.timeframe_ms,
            periods: &run.curve.periods,
            trades: None,
            tally: &run.tally,
            drawdown: job.risk.then(|| run.curve.drawdown.deepest()),
            capital: rules.capital,
            exchange_calendar: rules.exchange_calendar,
            exposed_bars: tally.exposed_bars,
            traded_notional: tally.traded_notional,
            first_open: market.open[0],
            last_close: market.close[market.len() - 1],
        }));
    }
    Ok(())
}
