//! One run, tile by tile: bars in, equity and trades out. The twin of `python_core.engine.kernel`'s Python engine.

use crate::error::{Error, Result};
use crate::market::Market;
use crate::market::frame::Frame;
use crate::metrics::{self, MetricsInput, Periods, TradeSums, benchmark_returns};
use crate::plan::Plan;
use crate::signals::evaluate::Evaluator;
use crate::signals::order_tile::{Carry, OrderTile};
use crate::signals::orders::Source;
use crate::simulation::Simulator;
use crate::simulation::account::Totals;
use crate::simulation::drawdown::DrawdownTracker;
use crate::simulation::equity_curve::StoredCurve;
use crate::simulation::execution::Execution;
use crate::simulation::trade::Trade;

/// The results of a run besides its equity.
#[derive(Debug)]
pub struct Outcome {
    pub trades: Vec<Trade>,
    /// Whether `simulation::fill_excursions` must still fill in `mae` and `mfe` of the trades.
    pub excursions_pending: bool,
    pub totals: Totals,
    /// In the order of `NAMES` in Python.
    pub metrics: Vec<f64>,
}

/// Run a plan or given signals over a market, and fill `equity`, one value for each bar from `first_bar` on; those before it are warm-up.
/// `poll` is called at each tile with the fraction done.
#[allow(clippy::too_many_arguments)]
pub fn backtest(
    market: Market<'_>,
    plan: &Plan,
    source: Source<'_>,
    strategy_ms: i64,
    execution: &Execution,
    first_bar: usize,
    equity: &mut [f64],
    poll: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<Outcome> {
    if first_bar >= market.len() || equity.len() != market.len() - first_bar {
        return Err(Error::Input("equity must have one value for each bar, and there must be bars".into()));
    }
    let levels = execution.levels.with_given(source.has_levels());
    let simulated = market.from(first_bar);
    let mut frame = Frame::new(market, strategy_ms, first_bar)?;
    let mut evaluator = Evaluator::new(&plan.ops, &plan.timeframes_ms, &market, strategy_ms, execution.fill_at_close)?;
    let mut tile = OrderTile::new(&plan.outputs, source, execution.order_needs(&levels), first_bar);
    let mut carry = Carry::default();
    let mut simulator = Simulator::new(simulated, execution, levels, source.has_sizes());
    let (mut trades, mut trade_sums): (Vec<Trade>, _) = (Vec::new(), TradeSums::default());
    let mut curve = StoredCurve { equity, drawdown: DrawdownTracker::new(execution.initial_capital, simulated.bars.time) };
    while frame.advance() {
        evaluator.run(&frame);
        for bars in frame.base_tiles() {
            poll(bars.start as f64 / market.len() as f64)?;
            if bars.start < first_bar {
                continue;
            }
            tile.assemble(&frame, bars, &evaluator, &plan.outputs, source, &mut carry);
            simulator.prefetch(&tile);
            let known = trades.len();
            simulator.run(&tile, &mut trades, &mut curve);
            trades[known..].iter().for_each(|trade| trade_sums.push(trade));
        }
    }
    let (totals, excursions_pending) = (simulator.trader.account.totals, !simulator.trader.follows_every_bar);
    let periods = Periods::new(simulated.bars.time, simulated.timeframe_ms, execution.calendar);
    let benchmark = benchmark_returns(&simulated, &periods);
    let metrics = metrics::compute(&MetricsInput {
        trades: Some(&trades),
        drawdown: Some(curve.drawdown.maximum()),
        ..MetricsInput::new(&simulator.trader, &trade_sums, &periods.of(curve.equity), &benchmark)
    });
    Ok(Outcome { trades, excursions_pending, totals, metrics })
}
