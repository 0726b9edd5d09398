//! The loops of `simd` in x86 instructions.

use std::arch::x86_64::{
    __m256d, __m512d, __mmask8, _CMP_EQ_OQ, _CMP_EQ_UQ, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_LE_OQ, _mm_cvtsi128_si64, _mm256_add_pd,
    _mm256_cmp_pd, _mm256_cmpeq_epi8, _mm256_loadu_pd, _mm256_loadu_si256, _mm256_min_pd, _mm256_movemask_epi8, _mm256_movemask_pd,
    _mm256_mul_pd, _mm256_or_pd, _mm256_set1_pd, _mm256_setzero_pd, _mm256_setzero_si256, _mm256_storeu_pd, _mm256_sub_pd,
    _mm512_add_epi64, _mm512_add_pd, _mm512_alignr_epi64, _mm512_castsi512_si128, _mm512_cmp_pd_mask, _mm512_loadu_pd, _mm512_loadu_si512,
    _mm512_mask_cmp_pd_mask, _mm512_mask_max_pd, _mm512_mask_min_pd, _mm512_mask_storeu_pd, _mm512_maskz_loadu_pd, _mm512_mul_pd,
    _mm512_permutexvar_epi64, _mm512_reduce_max_pd, _mm512_reduce_min_pd, _mm512_set1_epi64, _mm512_set1_pd, _mm512_setzero_si512,
    _mm512_storeu_si512, _mm512_sub_pd, _mm512_test_epi8_mask,
};

use crate::simd::held::Held;
use crate::simd::portable::{self, Predicate};

const ALL_LANES: __mmask8 = 0xff;

/// Runs `$body` for each group of 8 of `$n` values, with the position of its first value and a mask of its lanes: all of them, except that
/// the last group may be shorter.
macro_rules! groups {
    ($n:expr, |$at:ident, $lanes:ident| $body:block) => {{
        let (n, mut $at) = ($n, 0);
        while $at + 8 <= n {
            let $lanes = ALL_LANES;
            $body
            $at += 8;
        }
        if $at < n {
            let $lanes = (1 << (n - $at)) - 1;
            $body
        }
    }};
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn load(values: &[f64], at: usize, lanes: __mmask8) -> __m512d {
    debug_assert!(at + 8 - lanes.leading_zeros() as usize <= values.len());
    // SAFETY: the mask names only lanes inside the values, and no other lane is accessed.
    unsafe { _mm512_maskz_loadu_pd(lanes, values.as_ptr().add(at)) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn store(values: &mut [f64], at: usize, lanes: __mmask8, value: __m512d) {
    debug_assert!(at + 8 - lanes.leading_zeros() as usize <= values.len());
    // SAFETY: the mask names only lanes inside the values, and no other lane is accessed.
    unsafe { _mm512_mask_storeu_pd(values.as_mut_ptr().add(at), lanes, value) };
}

/// A `Held`, each number in every lane.
struct HeldLanes(__m512d, __m512d, __m512d);

impl HeldLanes {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn new(held: Held) -> Self {
        Self(_mm512_set1_pd(held.balance), _mm512_set1_pd(held.quantity), _mm512_set1_pd(held.entry))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn equity(&self, close: __m512d) -> __m512d {
        _mm512_add_pd(self.0, _mm512_mul_pd(self.1, _mm512_sub_pd(close, self.2)))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub fn extremes(low: &[f64], high: &[f64]) -> (f64, f64) {
    let high = &high[..low.len()];
    let (mut lowest, mut highest) = (_mm512_set1_pd(f64::INFINITY), _mm512_set1_pd(f64::NEG_INFINITY));
    groups!(low.len(), |at, lanes| {
        // Where the first operand is NaN, these instructions give the second.
        lowest = _mm512_mask_min_pd(lowest, lanes, load(low, at, lanes), lowest);
        highest = _mm512_mask_max_pd(highest, lanes, load(high, at, lanes), highest);
    });
    (_mm512_reduce_min_pd(lowest), _mm512_reduce_max_pd(highest))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub fn mark_to_market(close: &[f64], held: Held, equity: &mut [f64]) -> bool {
    let equity = &mut equity[..close.len()];
    let (ruin, held, mut ruined) = (_mm512_set1_pd(held.ruin), HeldLanes::new(held), 0);
    groups!(close.len(), |at, lanes| {
        let value = held.equity(load(close, at, lanes));
        store(equity, at, lanes, value);
        ruined |= _mm512_mask_cmp_pd_mask::<_CMP_LE_OQ>(lanes, value, ruin);
    });
    ruined != 0
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub fn lower_troughs<const FROM_CLOSE: bool>(values: &[f64], held: Held, peak: f64, troughs: &mut [f64; 8]) -> usize {
    let (ruin, held, peak) = (_mm512_set1_pd(held.ruin), HeldLanes::new(held), _mm512_set1_pd(peak));
    let mut lowest = load(troughs, 0, ALL_LANES);
    groups!(values.len(), |at, lanes| {
        let value = load(values, at, lanes);
        let equity = if FROM_CLOSE { held.equity(value) } else { value };
        let reaches = _mm512_mask_cmp_pd_mask::<_CMP_GE_OQ>(lanes, equity, peak);
        let ruined = if FROM_CLOSE { _mm512_mask_cmp_pd_mask::<_CMP_LE_OQ>(lanes, equity, ruin) } else { 0 };
        if reaches | ruined != 0 {
            store(troughs, 0, ALL_LANES, lowest);
            return at;
        }
        lowest = _mm512_mask_min_pd(lowest, lanes, equity, lowest);
    });
    store(troughs, 0, ALL_LANES, lowest);
    values.len()
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub fn fill(values: &mut [f64], value: f64) {
    let value = _mm512_set1_pd(value);
    groups!(values.len(), |at, lanes| { store(values, at, lanes, value) });
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub fn first_outside<const LOW: bool, const HIGH: bool>(low: &[f64], high: &[f64], lower: f64, upper: f64) -> usize {
    let n = low.len();
    let high = &high[..n];
    let (lower, upper) = (_mm512_set1_pd(lower), _mm512_set1_pd(upper));
    groups!(n, |at, lanes| {
        let below = if LOW { _mm512_mask_cmp_pd_mask::<_CMP_LE_OQ>(lanes, load(low, at, lanes), lower) } else { 0 };
        let above = if HIGH { _mm512_mask_cmp_pd_mask::<_CMP_GE_OQ>(lanes, load(high, at, lanes), upper) } else { 0 };
        if below | above != 0 {
            return at + (below | above).trailing_zeros() as usize;
        }
    });
    n
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn lower_troughs_avx2<const FROM_CLOSE: bool>(values: &[f64], held: Held, peak: f64, troughs: &mut [f64; 8]) -> usize {
    let (groups, rest) = values.as_chunks::<8>();
    let [balance, quantity, entry, ruin, peak_lanes] =
        [held.balance, held.quantity, held.entry, held.ruin, peak].map(|x| _mm256_set1_pd(x));
    let (mut low, mut high) = halves(troughs);
    let mut passed = 0;
    for group in groups {
        let (mut a, mut b) = halves(group);
        if FROM_CLOSE {
            a = _mm256_add_pd(balance, _mm256_mul_pd(quantity, _mm256_sub_pd(a, entry)));
            b = _mm256_add_pd(balance, _mm256_mul_pd(quantity, _mm256_sub_pd(b, entry)));
        }
        let mut stops = _mm256_or_pd(_mm256_cmp_pd::<_CMP_GE_OQ>(a, peak_lanes), _mm256_cmp_pd::<_CMP_GE_OQ>(b, peak_lanes));
        if FROM_CLOSE {
            let ruined = _mm256_or_pd(_mm256_cmp_pd::<_CMP_LE_OQ>(a, ruin), _mm256_cmp_pd::<_CMP_LE_OQ>(b, ruin));
            stops = _mm256_or_pd(stops, ruined);
        }
        if _mm256_movemask_pd(stops) != 0 {
            break;
        }
        // Where the first operand is NaN, these instructions give the second.
        (low, high) = (_mm256_min_pd(a, low), _mm256_min_pd(b, high));
        passed += 8;
    }
    // SAFETY: the array has twice 4 values.
    unsafe {
        _mm256_storeu_pd(troughs.as_mut_ptr(), low);
        _mm256_storeu_pd(troughs.as_mut_ptr().add(4), high);
    }
    if passed + rest.len() < values.len() {
        return passed;
    }
    passed + portable::lower_troughs::<FROM_CLOSE>(rest, held, peak, troughs)
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves(values: &[f64; 8]) -> (__m256d, __m256d) {
    // SAFETY: the array has twice 4 values.
    unsafe { (_mm256_loadu_pd(values.as_ptr()), _mm256_loadu_pd(values.as_ptr().add(4))) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn first_outside_avx2<const LOW: bool, const HIGH: bool>(low: &[f64], high: &[f64], lower: f64, upper: f64) -> usize {
    let high = &high[..low.len()];
    let (lower_lanes, upper_lanes) = (_mm256_set1_pd(lower), _mm256_set1_pd(upper));
    let groups = low.as_chunks::<8>().0.iter().zip(high.as_chunks::<8>().0);
    for (k, (lows, highs)) in groups.enumerate() {
        let (mut a, mut b) = (_mm256_setzero_pd(), _mm256_setzero_pd());
        if LOW {
            let (x, y) = halves(lows);
            (a, b) = (_mm256_cmp_pd::<_CMP_LE_OQ>(x, lower_lanes), _mm256_cmp_pd::<_CMP_LE_OQ>(y, lower_lanes));
        }
        if HIGH {
            let (x, y) = halves(highs);
            a = _mm256_or_pd(a, _mm256_cmp_pd::<_CMP_GE_OQ>(x, upper_lanes));
            b = _mm256_or_pd(b, _mm256_cmp_pd::<_CMP_GE_OQ>(y, upper_lanes));
        }
        let hits = _mm256_movemask_pd(a) | _mm256_movemask_pd(b) << 4;
        if hits != 0 {
            return 8 * k + hits.trailing_zeros() as usize;
        }
    }
    let whole = low.len() / 8 * 8;
    let rest = low[whole..].iter().zip(&high[whole..]).position(|(&low, &high)| (LOW & (low <= lower)) | (HIGH & (high >= upper)));
    rest.map_or(low.len(), |at| whole + at)
}

#[target_feature(enable = "avx512f")]
pub fn running_sum(groups: &mut [[i64; 8]], before: i64) -> i64 {
    let (zero, last) = (_mm512_setzero_si512(), _mm512_set1_epi64(7));
    let mut sum = _mm512_set1_epi64(before);
    for group in groups {
        // SAFETY: the array has 8 values.
        let mut x = unsafe { _mm512_loadu_si512(group.as_ptr().cast()) };
        // After each line a lane holds the sum of the last 2, 4 and 8 values.
        x = _mm512_add_epi64(x, _mm512_alignr_epi64::<7>(x, zero));
        x = _mm512_add_epi64(x, _mm512_alignr_epi64::<6>(x, zero));
        x = _mm512_add_epi64(x, _mm512_alignr_epi64::<4>(x, zero));
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(group.as_mut_ptr().cast(), _mm512_add_epi64(x, sum)) };
        // Computed from `x`, not from what was stored, so that a group waits for only one addition of the group before.
        sum = _mm512_add_epi64(sum, _mm512_permutexvar_epi64(last, x));
    }
    _mm_cvtsi128_si64(_mm512_castsi512_si128(sum))
}

#[target_feature(enable = "avx512f,avx512bw")]
pub fn pack_bools_avx512(bools: &[[u8; 64]], out: &mut [u64]) {
    for (out, bools) in out.iter_mut().zip(bools) {
        // SAFETY: the array has 64 bytes.
        let bytes = unsafe { _mm512_loadu_si512(bools.as_ptr().cast()) };
        *out = _mm512_test_epi8_mask(bytes, bytes);
    }
}

#[target_feature(enable = "avx2")]
pub fn pack_bools_avx2(bools: &[[u8; 64]], out: &mut [u64]) {
    for (out, bools) in out.iter_mut().zip(bools) {
        // SAFETY: the array has twice 32 bytes.
        let (a, b) = unsafe { (_mm256_loadu_si256(bools.as_ptr().cast()), _mm256_loadu_si256(bools[32..].as_ptr().cast())) };
        let zero = _mm256_setzero_si256();
        let (a, b) = (_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, zero)), _mm256_movemask_epi8(_mm256_cmpeq_epi8(b, zero)));
        *out = !(u64::from(a as u32) | u64::from(b as u32) << 32);
    }
}

/// Eight bars in a byte. x86 is little-endian, so bytes in order form the words.
#[target_feature(enable = "avx512f,avx512dq")]
pub fn compare_avx512(predicate: Predicate, a: &[[f64; 64]], b: &[[f64; 64]], out: &mut [u64]) {
    let bytes = bytemuck::cast_slice_mut::<u64, u8>(out).iter_mut();
    let groups = bytes.zip(a.as_flattened().as_chunks().0.iter().zip(b.as_flattened().as_chunks().0));
    match predicate {
        Predicate::Gt => groups.for_each(|(out, (a, b))| *out = compare_8::<_CMP_GT_OQ>(a, b)),
        Predicate::Ge => groups.for_each(|(out, (a, b))| *out = compare_8::<_CMP_GE_OQ>(a, b)),
        Predicate::Eq => groups.for_each(|(out, (a, b))| *out = compare_8::<_CMP_EQ_OQ>(a, b)),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn compare_8<const OP: i32>(a: &[f64; 8], b: &[f64; 8]) -> u8 {
    // SAFETY: each array has 8 values.
    let (a, b) = unsafe { (_mm512_loadu_pd(a.as_ptr()), _mm512_loadu_pd(b.as_ptr())) };
    _mm512_cmp_pd_mask::<OP>(a, b)
}

#[target_feature(enable = "avx512f,avx512dq")]
pub fn compare_both_ways_avx512(a: &[[f64; 64]], b: &[[f64; 64]], above: &mut [u64], below: &mut [u64]) {
    let bytes = bytemuck::cast_slice_mut::<u64, u8>(above).iter_mut().zip(bytemuck::cast_slice_mut::<u64, u8>(below));
    for ((above, below), (a, b)) in bytes.zip(a.as_flattened().as_chunks().0.iter().zip(b.as_flattened().as_chunks().0)) {
        (*above, *below) = (compare_8::<_CMP_GT_OQ>(a, b), compare_8::<_CMP_GT_OQ>(b, a));
    }
}

/// Equal values are rare, so a word without any, and without NaN, needs one comparison and a check.
#[target_feature(enable = "avx2")]
pub fn compare_both_ways_avx2(a: &[[f64; 64]], b: &[[f64; 64]], above: &mut [u64], below: &mut [u64]) {
    for ((above, below), (a, b)) in above.iter_mut().zip(below).zip(a.iter().zip(b)) {
        let (mut bits, mut others) = (0, _mm256_setzero_pd());
        for k in 0..16 {
            // SAFETY: 4 values from position 4 k lie inside the 64 of each array.
            let (x, y) = unsafe { (_mm256_loadu_pd(a.as_ptr().add(4 * k)), _mm256_loadu_pd(b.as_ptr().add(4 * k))) };
            bits |= u64::from(_mm256_movemask_pd(_mm256_cmp_pd::<_CMP_GT_OQ>(x, y)) as u32) << (4 * k);
            others = _mm256_or_pd(others, _mm256_cmp_pd::<_CMP_EQ_UQ>(x, y));
        }
        (*above, *below) = (bits, !bits);
        if _mm256_movemask_pd(others) != 0 {
            *below = compare_64::<_CMP_GT_OQ>(b, a);
        }
    }
}

#[target_feature(enable = "avx2")]
pub fn compare_avx2(predicate: Predicate, a: &[[f64; 64]], b: &[[f64; 64]], out: &mut [u64]) {
    let words = out.iter_mut().zip(a.iter().zip(b));
    match predicate {
        Predicate::Gt => words.for_each(|(out, (a, b))| *out = compare_64::<_CMP_GT_OQ>(a, b)),
        Predicate::Ge => words.for_each(|(out, (a, b))| *out = compare_64::<_CMP_GE_OQ>(a, b)),
        Predicate::Eq => words.for_each(|(out, (a, b))| *out = compare_64::<_CMP_EQ_OQ>(a, b)),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn compare_64<const OP: i32>(a: &[f64; 64], b: &[f64; 64]) -> u64 {
    let mut bits = 0;
    for k in 0..16 {
        // SAFETY: 4 values from position 4 k lie inside the 64 of each array.
        let (x, y) = unsafe { (_mm256_loadu_pd(a.as_ptr().add(4 * k)), _mm256_loadu_pd(b.as_ptr().add(4 * k))) };
        bits |= u64::from(_mm256_movemask_pd(_mm256_cmp_pd::<OP>(x, y)) as u32) << (4 * k);
    }
    bits
}
