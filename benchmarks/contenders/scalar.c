/* The plain loop: bar by bar, compiled for the baseline instruction set. The rules are those of the contract for a position that
   takes the whole equity, at leverage 1. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t entry, exit, side;
    double quantity, entry_price, exit_price, net;
} Trade;

typedef struct {
    const double *open, *high, *low, *close;
    const bool *entry_long, *exit_long, *entry_short, *exit_short; /* the last two may be missing */
    int64_t bars, fast, slow;                                      /* lengths of averages, for `crossing` */
    double capital, fee, stop_loss, take_profit;                   /* infinite: none */
} Job;

typedef struct {
    double balance, quantity, entry, paid;
    int64_t opened, side, trades;
} Account;

static inline void enter(Account *a, int64_t bar, int64_t side, double price, double fee) {
    a->side = side;
    a->opened = bar;
    a->entry = price;
    a->quantity = a->balance * (1.0 / (1.0 + fee)) / price;
    a->paid = a->quantity * price * fee;
    a->balance -= a->paid;
}

static inline void leave(Account *a, int64_t bar, double price, double fee, Trade *trades) {
    double gross = (double)a->side * a->quantity * (price - a->entry), paid = a->quantity * price * fee;
    a->balance = a->balance + gross - paid;
    trades[a->trades++] = (Trade){a->opened, bar, a->side, a->quantity, a->entry, price, gross - a->paid - paid};
    a->side = 0;
}

/* Stop and target inside a bar; fills at the open if that is beyond a level, and at the stop if both are reached. */
static inline void inside(Account *a, const Job *job, int64_t i, Trade *trades) {
    double side = (double)a->side, open = job->open[i];
    double stop = a->entry * (1.0 - side * job->stop_loss), target = a->entry * (1.0 + side * job->take_profit);
    double worst = a->side > 0 ? job->low[i] : job->high[i], best = a->side > 0 ? job->high[i] : job->low[i];
    double price;
    if ((open - stop) * side <= 0.0 || (open - target) * side >= 0.0) price = open;
    else if ((worst - stop) * side <= 0.0) price = stop;
    else if ((best - target) * side >= 0.0) price = target;
    else return;
    leave(a, i, price, job->fee, trades);
}

static inline int64_t loop(const Job *job, double *equity, Trade *trades, bool crossing, bool shorts, bool stops) {
    Account a = {.balance = job->capital};
    bool buy = false, sell = false, above = false;
    double fast = 0.0, slow = 0.0;
    for (int64_t i = 0; i < job->bars; i++) {
        bool entry_long, exit_long, entry_short = false, exit_short = false;
        if (crossing) {
            entry_long = exit_short = buy;
            exit_long = entry_short = sell;
            entry_short &= shorts;
        } else {
            entry_long = i > 0 && job->entry_long[i - 1];
            exit_long = i > 0 && job->exit_long[i - 1];
            if (shorts) {
                entry_short = i > 0 && job->entry_short[i - 1];
                exit_short = i > 0 && job->exit_short[i - 1];
            }
        }
        if (a.side > 0 ? exit_long | entry_short : (a.side < 0) & (exit_short | entry_long)) leave(&a, i, job->open[i], job->fee, trades);
        if (a.side == 0 && entry_long != entry_short) enter(&a, i, entry_long ? 1 : -1, job->open[i], job->fee);
        if (stops && a.side != 0) inside(&a, job, i, trades);
        double close = job->close[i];
        equity[i] = a.side == 0 ? a.balance : a.balance + (double)a.side * a.quantity * (close - a.entry);
        if (crossing) {
            fast += close - (i >= job->fast ? job->close[i - job->fast] : 0.0);
            slow += close - (i >= job->slow ? job->close[i - job->slow] : 0.0);
            bool now = fast / (double)job->fast > slow / (double)job->slow;
            buy = i >= job->slow && now && !above;
            sell = i >= job->slow && !now && above;
            above = now;
        }
    }
    if (a.side != 0) {
        leave(&a, job->bars - 1, job->close[job->bars - 1], job->fee, trades);
        equity[job->bars - 1] = a.balance;
    }
    return a.trades;
}

/* Writes equity, one value per bar, and at most as many trades as bars; returns the number of trades. */
int64_t run(const Job *job, double *equity, Trade *trades) {
    bool shorts = job->entry_short != 0, stops = isfinite(job->stop_loss);
    if (shorts) return stops ? loop(job, equity, trades, false, true, true) : loop(job, equity, trades, false, true, false);
    return stops ? loop(job, equity, trades, false, false, true) : loop(job, equity, trades, false, false, false);
}

/* As `run`, with long and short positions from the crossings of two averages of the close. */
int64_t run_crossing(const Job *job, double *equity, Trade *trades) {
    bool stops = isfinite(job->stop_loss);
    return stops ? loop(job, equity, trades, true, true, true) : loop(job, equity, trades, true, true, false);
}
