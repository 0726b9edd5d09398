/* The limit: signals as bit masks, 64 bars per word, so that a run skips from event to event, in tiles that stay in the cache.
   Compiled for the vector instructions of this machine. The rules are those of scalar.c. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

enum { WORDS = 16, TILE = 64 * WORDS, HISTORY = 512 };
static const double GRID = 1099511627776.0; /* 2^40: with prices as integers, sums over windows are differences of one running sum */

typedef struct {
    int64_t entry, exit, side;
    double quantity, entry_price, exit_price, net;
} Trade;

typedef struct {
    const double *open, *high, *low, *close;
    const bool *entry_long, *exit_long, *entry_short, *exit_short;
    int64_t bars, fast, slow;
    double capital, fee, stop_loss, take_profit;
} Job;

typedef struct {
    double balance, quantity, entry, paid, stop, target; /* quantity is negative when short */
    int64_t opened, side, trades;
} Account;

/* Drawdown and daily returns. */
typedef struct {
    double peak, trough, deepest, day, sum, squares;
    int64_t days;
} Risk;

typedef struct {
    uint64_t entry_long[WORDS], exit_long[WORDS], entry_short[WORDS], exit_short[WORDS];
} Orders;

/* Bits of a[i] > b[i] over a word. */
static inline uint64_t greater(const double *a, const double *b) {
    uint64_t word = 0;
#ifdef __AVX512DQ__
    for (int k = 0; k < 64; k += 8)
        word |= (uint64_t)_mm512_cmp_pd_mask(_mm512_loadu_pd(a + k), _mm512_loadu_pd(b + k), _CMP_GT_OQ) << k;
#elif defined __AVX2__
    for (int k = 0; k < 64; k += 4)
        word |= (uint64_t)_mm256_movemask_pd(_mm256_cmp_pd(_mm256_loadu_pd(a + k), _mm256_loadu_pd(b + k), _CMP_GT_OQ)) << k;
#else
    for (int k = 0; k < 64; k++) word |= (uint64_t)(a[k] > b[k]) << k;
#endif
    return word;
}

/* 64 booleans as bits. */
static inline uint64_t pack(const bool *flags) {
#ifdef __AVX512DQ__
    __m512i bytes = _mm512_loadu_si512(flags);
    return _mm512_test_epi8_mask(bytes, bytes);
#elif defined __AVX2__
    __m256i zero = _mm256_setzero_si256();
    uint32_t low = (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(_mm256_loadu_si256((const __m256i *)flags), zero));
    uint32_t high = (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(_mm256_loadu_si256((const __m256i *)(flags + 32)), zero));
    return low | (uint64_t)high << 32;
#else
    uint64_t word = 0, eight;
    for (int k = 0; k < 8; k++) {
        memcpy(&eight, flags + 8 * k, 8);
        word |= (eight * 0x0102040810204080u >> 56) << (8 * k);
    }
    return word;
#endif
}

/* First bar of [from, to) with a low at or below `lower` or a high at or above `upper`. */
static inline int64_t first_outside(const double *low, const double *high, double lower, double upper, int64_t from, int64_t to) {
#ifdef __AVX512DQ__
    __m512d floor = _mm512_set1_pd(lower), ceiling = _mm512_set1_pd(upper);
    for (; from < to; from += 8) {
        __mmask8 lanes = to - from >= 8 ? 0xff : (__mmask8)((1u << (to - from)) - 1);
        __mmask8 hit = _mm512_mask_cmp_pd_mask(lanes, _mm512_maskz_loadu_pd(lanes, low + from), floor, _CMP_LE_OQ) |
                       _mm512_mask_cmp_pd_mask(lanes, _mm512_maskz_loadu_pd(lanes, high + from), ceiling, _CMP_GE_OQ);
        if (hit) return from + __builtin_ctz(hit);
    }
    return to;
#else
#ifdef __AVX2__
    __m256d floor = _mm256_set1_pd(lower), ceiling = _mm256_set1_pd(upper);
    for (; from + 4 <= to; from += 4) {
        int hit = _mm256_movemask_pd(_mm256_or_pd(_mm256_cmp_pd(_mm256_loadu_pd(low + from), floor, _CMP_LE_OQ),
                                                  _mm256_cmp_pd(_mm256_loadu_pd(high + from), ceiling, _CMP_GE_OQ)));
        if (hit) return from + __builtin_ctz((unsigned)hit);
    }
#endif
    while (from < to && low[from] > lower && high[from] < upper) from++;
    return from;
#endif
}

static inline void extremes(const double *values, int64_t n, double *least, double *most) {
    double low = values[0], high = values[0];
#ifdef __AVX512DQ__
    if (n >= 8) {
        __m512d a = _mm512_loadu_pd(values), b = a;
        for (int64_t i = 8; i < n; i += 8) {
            __m512d x = _mm512_loadu_pd(values + (i + 8 <= n ? i : n - 8));
            a = _mm512_min_pd(a, x);
            b = _mm512_max_pd(b, x);
        }
        *least = _mm512_reduce_min_pd(a);
        *most = _mm512_reduce_max_pd(b);
        return;
    }
#elif defined __AVX2__
    if (n >= 4) {
        __m256d a = _mm256_loadu_pd(values), b = a;
        for (int64_t i = 4; i < n; i += 4) {
            __m256d x = _mm256_loadu_pd(values + (i + 4 <= n ? i : n - 4));
            a = _mm256_min_pd(a, x);
            b = _mm256_max_pd(b, x);
        }
        __m128d c = _mm_min_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
        __m128d d = _mm_max_pd(_mm256_castpd256_pd128(b), _mm256_extractf128_pd(b, 1));
        *least = _mm_cvtsd_f64(_mm_min_sd(c, _mm_unpackhi_pd(c, c)));
        *most = _mm_cvtsd_f64(_mm_max_sd(d, _mm_unpackhi_pd(d, d)));
        return;
    }
#endif
    for (int64_t i = 1; i < n; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    *least = low;
    *most = high;
}

/* Equity of an open position, or without one if `close` is NULL. */
static inline void write_equity(double *equity, const double *close, int64_t from, int64_t to, double balance, double quantity,
                                double entry) {
#ifdef __AVX512DQ__
    __m512d money = _mm512_set1_pd(balance), size = _mm512_set1_pd(quantity), paid = _mm512_set1_pd(entry);
    for (; from < to; from += 8) {
        __mmask8 lanes = to - from >= 8 ? 0xff : (__mmask8)((1u << (to - from)) - 1);
        __m512d value = money;
        if (close) value = _mm512_add_pd(money, _mm512_mul_pd(size, _mm512_sub_pd(_mm512_maskz_loadu_pd(lanes, close + from), paid)));
        _mm512_mask_storeu_pd(equity + from, lanes, value);
    }
#else
    if (close)
        for (; from < to; from++) equity[from] = balance + quantity * (close[from] - entry);
    for (; from < to; from++) equity[from] = balance;
#endif
}

static inline int64_t next(const uint64_t *a, const uint64_t *b, int64_t from, int64_t n) {
    if (from >= n) return n;
    int64_t w = from >> 6;
    uint64_t bits = (a[w] | b[w]) & (~(uint64_t)0 << (from & 63));
    while (!bits) {
        if (64 * ++w >= n) return n;
        bits = a[w] | b[w];
    }
    int64_t at = 64 * w + __builtin_ctzll(bits);
    return at < n ? at : n;
}

static inline void enter(Account *a, const Job *job, int64_t bar, int64_t side, double price, double power) {
    double size = a->balance * power / price;
    a->side = side;
    a->opened = bar;
    a->entry = price;
    a->quantity = (double)side * size;
    a->paid = size * price * job->fee;
    a->balance -= a->paid;
    double stop = price * (1.0 - (double)side * job->stop_loss), target = price * (1.0 + (double)side * job->take_profit);
    a->stop = stop;
    a->target = target;
}

static inline void leave(Account *a, const Job *job, int64_t bar, double price, Trade *trades) {
    double gross = a->quantity * (price - a->entry), paid = fabs(a->quantity) * price * job->fee;
    a->balance = a->balance + gross - paid;
    if (trades) trades[a->trades] = (Trade){a->opened, bar, a->side, fabs(a->quantity), a->entry, price, gross - a->paid - paid};
    a->trades++;
    a->side = 0;
}

static inline double stopped_at(const Account *a, const Job *job, int64_t i) {
    double open = job->open[i];
    if (a->side > 0) return open <= a->stop || open >= a->target ? open : job->low[i] <= a->stop ? a->stop : a->target;
    return open >= a->stop || open <= a->target ? open : job->high[i] >= a->stop ? a->stop : a->target;
}

static inline void update_drawdown(Risk *risk, double low, double high) {
    if (high >= risk->peak) {
        double fall = (risk->peak - risk->trough) / risk->peak;
        risk->deepest = fall > risk->deepest ? fall : risk->deepest;
        risk->peak = risk->trough = high;
    } else if (low < risk->trough) {
        risk->trough = low;
    }
}

static inline void end_day(Risk *risk, double equity) {
    double change = equity / risk->day - 1.0;
    risk->sum += change;
    risk->squares += change * change;
    risk->day = equity;
    risk->days++;
}

/* Equity over bars [from, to): stored, or reduced to risk metrics, or skipped. */
static inline void record_equity(const Account *a, const Job *job, int64_t from, int64_t to, double *equity, Risk *risk) {
    if (from >= to) return;
    const double *close = job->close;
    double balance = a->balance, quantity = a->quantity, entry = a->entry;
    bool held = a->side != 0;
    if (equity) {
        if (held) write_equity(equity, close, from, to, balance, quantity, entry);
        else write_equity(equity, 0, from, to, balance, 0.0, 0.0);
    }
    if (risk) {
        if (!held) {
            update_drawdown(risk, balance, balance);
        } else {
            double least, most;
            extremes(close + from, to - from, &least, &most);
            double x = balance + quantity * (least - entry), y = balance + quantity * (most - entry);
            if ((x > y ? x : y) < risk->peak) {
                update_drawdown(risk, x < y ? x : y, x < y ? y : x);
            } else {
                for (int64_t i = from; i < to; i++) {
                    double value = balance + quantity * (close[i] - entry);
                    update_drawdown(risk, value, value);
                }
            }
        }
        for (int64_t end = 1440 * (risk->days + 1) - 1; end < to; end += 1440)
            end_day(risk, held ? balance + quantity * (close[end] - entry) : balance);
    }
}

/* Run the bars [start, start + n), skipping from event to event. */
static inline void run_tile(Account *a, const Job *job, int64_t start, int64_t n, const Orders *orders, bool stops, double power, double *equity,
                            Risk *risk, Trade *trades) {
    int64_t at = 0, from = 0; /* equity is marked before `at`, orders are filled before `from` */
    const uint64_t *in_long = orders->entry_long, *in_short = orders->entry_short;
    while (at < n) {
        if (a->side == 0) {
            int64_t entry = next(in_long, in_short, from, n);
            record_equity(a, job, start + at, start + entry, equity, risk);
            at = entry;
            from = entry + 1;
            if (entry == n) return;
            bool buys = in_long[entry >> 6] >> (entry & 63) & 1, sells = in_short[entry >> 6] >> (entry & 63) & 1;
            if (buys != sells) enter(a, job, start + entry, buys ? 1 : -1, job->open[start + entry], power);
            continue;
        }
        int64_t order = a->side > 0 ? next(orders->exit_long, in_short, from, n) : next(orders->exit_short, in_long, from, n), hit = order;
        if (stops) {
            double lower = a->side > 0 ? a->stop : a->target, upper = a->side > 0 ? a->target : a->stop;
            hit = first_outside(job->low + start, job->high + start, lower, upper, at, order);
        }
        record_equity(a, job, start + at, start + hit, equity, risk);
        at = hit;
        if (hit < order) {
            leave(a, job, start + hit, stopped_at(a, job, start + hit), trades);
            from = hit + 1;
        } else if (order < n) {
            leave(a, job, start + order, job->open[start + order], trades);
            from = order;
        }
    }
}

static inline void finish(Account *a, const Job *job, double *equity, Trade *trades) {
    int64_t last = job->bars - 1;
    if (a->side != 0) leave(a, job, last, job->close[last], trades);
    if (equity) equity[last] = a->balance;
}

/* Signals as orders, one bar later. */
static inline void later(uint64_t *words, uint64_t *carry) {
    for (int w = 0; w < WORDS; w++) {
        uint64_t next_carry = words[w] >> 63;
        words[w] = words[w] << 1 | *carry;
        *carry = next_carry;
    }
}

typedef struct {
    int64_t sums[HISTORY + TILE], total;
} Sums;

static void push(Sums *s, const double *close, int64_t n) {
    memmove(s->sums, s->sums + TILE, HISTORY * sizeof *s->sums);
    int64_t i = 0, total = s->total;
#ifdef __AVX512DQ__
    __m512i zero = _mm512_setzero_si512(), before = _mm512_set1_epi64(total), last = _mm512_set1_epi64(7);
    for (; i + 8 <= n; i += 8) {
        __m512i x = _mm512_cvttpd_epi64(_mm512_mul_pd(_mm512_loadu_pd(close + i), _mm512_set1_pd(GRID)));
        x = _mm512_add_epi64(x, _mm512_alignr_epi64(x, zero, 7));
        x = _mm512_add_epi64(x, _mm512_alignr_epi64(x, zero, 6));
        x = _mm512_add_epi64(x, _mm512_alignr_epi64(x, zero, 4));
        _mm512_storeu_si512(s->sums + HISTORY + i, _mm512_add_epi64(x, before));
        before = _mm512_add_epi64(before, _mm512_permutexvar_epi64(last, x));
    }
    total = _mm_cvtsi128_si64(_mm512_castsi512_si128(before));
#endif
    for (; i < n; i++) s->sums[HISTORY + i] = total += (int64_t)(close[i] * GRID);
    s->total = total;
}

static inline void average(const Sums *s, int64_t length, double *out, int64_t n) {
    const int64_t *now = s->sums + HISTORY, *gone = now - length;
    double scale = 1.0 / ((double)length * GRID);
    for (int64_t i = 0; i < n; i++) out[i] = (double)(now[i] - gone[i]) * scale;
}

/* Crossings known at the close of bars [start, ...), as orders for the next bar; `carry` holds the last bar's bits: above, rises, falls. */
static inline void cross(uint64_t *rises, uint64_t *falls, const uint64_t *above, int64_t start, int64_t slow, uint64_t carry[3]) {
    uint64_t was = carry[0], rose = carry[1], fell = carry[2];
    for (int w = 0; w < WORDS; w++) {
        int64_t unknown = slow - (start + 64 * w); /* bars of this word whose previous bar is unknown */
        uint64_t known = unknown <= 0 ? ~(uint64_t)0 : unknown >= 64 ? 0 : ~(uint64_t)0 << unknown;
        uint64_t before = above[w] << 1 | was, up = above[w] & ~before & known, down = ~above[w] & before & known;
        was = above[w] >> 63;
        rises[w] = up << 1 | rose;
        falls[w] = down << 1 | fell;
        rose = up >> 63;
        fell = down >> 63;
    }
    carry[0] = was, carry[1] = rose, carry[2] = fell;
}

/* Entry points; those of single runs are as in scalar.c. */

static inline int64_t run_given(const Job *job, double *equity, Trade *trades, bool shorts, bool stops) {
    Account a = {.balance = job->capital};
    Orders orders;
    memset(&orders, 0, sizeof orders);
    uint64_t carry[4] = {0};
    double power = 1.0 / (1.0 + job->fee);
    for (int64_t start = 0; start < job->bars; start += TILE) {
        int64_t n = job->bars - start < TILE ? job->bars - start : TILE;
        const bool *given[4] = {job->entry_long, job->exit_long, job->entry_short, job->exit_short};
        uint64_t *words[4] = {orders.entry_long, orders.exit_long, orders.entry_short, orders.exit_short};
        for (int k = 0; k < (shorts ? 4 : 2); k++) {
            int64_t w = 0;
            for (; 64 * w + 64 <= n; w++) words[k][w] = pack(given[k] + start + 64 * w);
            if (64 * w < n) {
                bool rest[64] = {0};
                memcpy(rest, given[k] + start + 64 * w, (size_t)(n - 64 * w));
                words[k][w] = pack(rest);
            }
            later(words[k], &carry[k]);
        }
        run_tile(&a, job, start, n, &orders, stops, power, equity, 0, trades);
    }
    finish(&a, job, equity, trades);
    return a.trades;
}

int64_t run(const Job *job, double *equity, Trade *trades) {
    bool shorts = job->entry_short != 0, stops = isfinite(job->stop_loss);
    if (shorts) return stops ? run_given(job, equity, trades, true, true) : run_given(job, equity, trades, true, false);
    return stops ? run_given(job, equity, trades, false, true) : run_given(job, equity, trades, false, false);
}

static inline int64_t crossing(const Job *job, double *equity, Trade *trades, bool stops) {
    static _Thread_local Sums sums;
    memset(&sums, 0, sizeof sums);
    Account a = {.balance = job->capital};
    double fast[TILE], slow[TILE], power = 1.0 / (1.0 + job->fee);
    uint64_t above[WORDS], carry[3] = {0};
    Orders orders;
    memset(fast, 0, sizeof fast);
    memset(slow, 0, sizeof slow);
    for (int64_t start = 0; start < job->bars; start += TILE) {
        int64_t n = job->bars - start < TILE ? job->bars - start : TILE;
        push(&sums, job->close + start, n);
        average(&sums, job->fast, fast, n);
        average(&sums, job->slow, slow, n);
        for (int w = 0; w < WORDS; w++) above[w] = greater(fast + 64 * w, slow + 64 * w);
        cross(orders.entry_long, orders.exit_long, above, start, job->slow, carry);
        memcpy(orders.entry_short, orders.exit_long, sizeof above);
        memcpy(orders.exit_short, orders.entry_long, sizeof above);
        run_tile(&a, job, start, n, &orders, stops, power, equity, 0, trades);
    }
    finish(&a, job, equity, trades);
    return a.trades;
}

int64_t run_crossing(const Job *job, double *equity, Trade *trades) {
    return isfinite(job->stop_loss) ? crossing(job, equity, trades, true) : crossing(job, equity, trades, false);
}

typedef struct {
    double equity, trades, drawdown, deviation; /* standard deviation of daily returns */
} Outcome;

typedef struct {
    Account account;
    uint64_t carry[3];
    Risk risk;
} Run;

/* Long-only runs of the averages `fast[i]` and `slow[i]` of `lengths`, for every i. */
static inline void sweep_all(const Job *job, int64_t lengths_count, const int64_t *lengths, int64_t count, const int64_t *fast, const int64_t *slow,
                             Outcome *out, bool stops, bool risk) {
    Sums *sums = calloc(1, sizeof *sums);
    Run *runs = calloc((size_t)count, sizeof *runs);
    double(*averages)[TILE] = calloc((size_t)lengths_count, sizeof *averages), power = 1.0 / (1.0 + job->fee);
    Orders orders;
    memset(&orders, 0, sizeof orders);
    for (int64_t k = 0; k < count; k++)
        runs[k] = (Run){.account = {.balance = job->capital}, .risk = {.peak = job->capital, .trough = job->capital, .day = job->capital}};
    for (int64_t start = 0; start < job->bars; start += TILE) {
        int64_t n = job->bars - start < TILE ? job->bars - start : TILE;
        push(sums, job->close + start, n);
        for (int64_t k = 0; k < lengths_count; k++) average(sums, lengths[k], averages[k], n);
        for (int64_t k = 0; k < count; k++) {
            uint64_t above[WORDS];
            for (int w = 0; w < WORDS; w++) above[w] = greater(averages[fast[k]] + 64 * w, averages[slow[k]] + 64 * w);
            cross(orders.entry_long, orders.exit_long, above, start, lengths[slow[k]], runs[k].carry);
            run_tile(&runs[k].account, job, start, n, &orders, stops, power, 0, risk ? &runs[k].risk : 0, 0);
        }
    }
    for (int64_t k = 0; k < count; k++) {
        Risk *r = &runs[k].risk;
        finish(&runs[k].account, job, 0, 0);
        double balance = runs[k].account.balance;
        out[k] = (Outcome){balance, (double)runs[k].account.trades, NAN, NAN};
        if (risk) {
            update_drawdown(r, balance, balance);
            double fall = (r->peak - r->trough) / r->peak, days = (double)r->days;
            if (job->bars % 1440 != 0) end_day(r, balance), days++;
            out[k].drawdown = fall > r->deepest ? fall : r->deepest;
            out[k].deviation = sqrt((r->squares - r->sum * r->sum / days) / (days - 1.0));
        }
    }
    free(sums);
    free(runs);
    free(averages);
}

void sweep(const Job *job, int64_t lengths_count, const int64_t *lengths, int64_t count, const int64_t *fast, const int64_t *slow, Outcome *out) {
    if (isfinite(job->stop_loss)) sweep_all(job, lengths_count, lengths, count, fast, slow, out, true, true);
    else sweep_all(job, lengths_count, lengths, count, fast, slow, out, false, false);
}
