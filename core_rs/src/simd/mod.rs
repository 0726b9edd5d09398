//! Loops over many values, in the best instructions that the machine has.
//!
//! Most loops are written once, in plain Rust that the compiler vectorises: `multiversion!` compiles them for the baseline, for AVX2 and
//! for AVX-512 and picks one at run time. A few are written by hand in x86 instructions. No version fuses or reorders float operations, so
//! all give the same bits.

pub mod bitmask;
pub mod held;
pub mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::simd::held::Held;
use crate::simd::portable::LANES;
pub use crate::simd::portable::Predicate;

/// Compiles `$body`, an `#[inline(always)]` function, once for each instruction set, and calls the best version that the machine can run.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident$(<$($type:ident: $bound:path),+>)?($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path;) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name$(<$($type: $bound),+>)?($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                fn avx2$(<$($type: $bound),+>)?($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                fn avx512$(<$($type: $bound),+>)?($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                match $crate::simd::instruction_set() {
                    // SAFETY: `instruction_set` has checked that the machine has these instructions.
                    $crate::simd::InstructionSet::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::simd::InstructionSet::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::simd::InstructionSet::Baseline => {}
                }
            }
            $body($($arg),*)
        }
    };
}
pub(crate) use multiversion;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    Baseline,
    Avx2,
    Avx512,
}

/// The best instruction set of this machine, detected at the first call.
#[inline(always)]
pub fn instruction_set() -> InstructionSet {
    match CACHED.load(Relaxed) {
        0 => InstructionSet::Baseline,
        1 => InstructionSet::Avx2,
        2 => InstructionSet::Avx512,
        _ => detect_once(),
    }
}

static CACHED: AtomicU8 = AtomicU8::new(u8::MAX);

#[cold]
fn detect_once() -> InstructionSet {
    // Lets a test run every version on one machine and compare their bits.
    let limit = match std::env::var("BARSTORM_SIMD").as_deref() {
        Ok("baseline") => InstructionSet::Baseline,
        Ok("avx2") => InstructionSet::Avx2,
        _ => InstructionSet::Avx512,
    };
    let found = detect().min(limit);
    CACHED.store(found as u8, Relaxed);
    found
}

#[cfg(target_arch = "x86_64")]
fn detect() -> InstructionSet {
    let has_avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt");
    let has_avx512 = has_avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw");
    match (has_avx512, has_avx2) {
        (true, _) => InstructionSet::Avx512,
        (_, true) => InstructionSet::Avx2,
        _ => InstructionSet::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> InstructionSet {
    InstructionSet::Baseline
}

/// Set bit `i` of `out` where `a[i]` and `b[i]` fulfil the predicate; bits past the end become 0.
pub fn compare(predicate: Predicate, a: &[f64], b: &[f64], out: &mut [u64]) {
    let n = a.len().min(b.len());
    let (full, rest) = out.split_at_mut((n / 64).min(out.len()));
    let (a_words, b_words) = (a[..n].as_chunks::<64>().0, b[..n].as_chunks::<64>().0);
    match instruction_set() {
        // SAFETY: `instruction_set` has checked that the machine has these instructions.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { x86::compare_avx512(predicate, a_words, b_words, full) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { x86::compare_avx2(predicate, a_words, b_words, full) },
        _ => full.iter_mut().zip(a_words.iter().zip(b_words)).for_each(|(out, (a, b))| *out = portable::compare_word(predicate, a, b)),
    }
    if let Some((first, rest)) = rest.split_first_mut() {
        *first = portable::compare_word(predicate, &a[n / 64 * 64..n], &b[n / 64 * 64..n]);
        rest.fill(0);
    }
}

/// `compare` for `a > b` and `a < b`, in one pass over the values.
pub fn compare_both_ways(a: &[f64], b: &[f64], above: &mut [u64], below: &mut [u64]) {
    let n = a.len().min(b.len());
    let full = (n / 64).min(above.len()).min(below.len());
    let (a_words, b_words) = (a[..n].as_chunks::<64>().0, b[..n].as_chunks::<64>().0);
    match instruction_set() {
        // SAFETY: `instruction_set` has checked that the machine has these instructions.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { x86::compare_both_ways_avx512(a_words, b_words, &mut above[..full], &mut below[..full]) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { x86::compare_both_ways_avx2(a_words, b_words, &mut above[..full], &mut below[..full]) },
        _ => {
            compare(Predicate::Gt, &a[..full * 64], &b[..full * 64], &mut above[..full]);
            compare(Predicate::Gt, &b[..full * 64], &a[..full * 64], &mut below[..full]);
        }
    }
    if full < above.len() {
        compare(Predicate::Gt, &a[full * 64..n], &b[full * 64..n], &mut above[full..]);
        compare(Predicate::Gt, &b[full * 64..n], &a[full * 64..n], &mut below[full..]);
    }
}

/// Load a value's cache line ahead of its use.
#[inline(always)]
pub fn prefetch<T>(values: &[T], at: usize) {
    let value: Option<*const T> = values.get(at).map(std::ptr::from_ref);
    #[cfg(target_arch = "x86_64")]
    if let Some(value) = value {
        // SAFETY: a prefetch changes nothing but caches.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(value.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Replace each value by the wrapping sum of `before` and all values up to and including it; returns the last sum.
pub fn running_sum(values: &mut [i64], before: i64) -> i64 {
    let (groups, rest) = values.as_chunks_mut::<8>();
    let sum = match instruction_set() {
        // SAFETY: `instruction_set` has checked that the machine has these instructions.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { x86::running_sum(groups, before) },
        _ => portable::running_sum(groups.as_flattened_mut(), before),
    };
    portable::running_sum(rest, sum)
}

/// Pack bytes into bits, 64 in a word: 1 where a byte is not 0. Bits past the end become 0.
pub fn pack_bools(bools: &[u8], out: &mut [u64]) {
    let (words, rest) = bools.as_chunks::<64>();
    let (full, last) = out.split_at_mut(words.len().min(out.len()));
    match instruction_set() {
        // SAFETY: `instruction_set` has checked that the machine has these instructions.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { x86::pack_bools_avx512(words, full) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { x86::pack_bools_avx2(words, full) },
        _ => full.iter_mut().zip(words).for_each(|(out, bools)| *out = portable::pack_bools_word(bools)),
    }
    if let Some((first, beyond)) = last.split_first_mut() {
        *first = portable::pack_bools_word(rest);
        beyond.fill(0);
    }
}

/// The lowest value of `low` and the highest of `high`, slices of equal length. NaN is ignored; without another value they are infinity and
/// minus infinity.
#[inline(always)]
pub fn extremes(low: &[f64], high: &[f64]) -> (f64, f64) {
    #[cfg(target_arch = "x86_64")]
    if instruction_set() == InstructionSet::Avx512 {
        // SAFETY: `instruction_set` has checked that the machine has these instructions.
        return unsafe { x86::extremes(low, high) };
    }
    portable::extremes(low, high)
}

/// Fill in the equity of a position at each close; returns whether it is ruin anywhere.
#[inline(always)]
pub fn mark_to_market(close: &[f64], held: Held, equity: &mut [f64]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if instruction_set() == InstructionSet::Avx512 {
        // SAFETY: `instruction_set` has checked that the machine has these instructions.
        return unsafe { x86::mark_to_market(close, held, equity) };
    }
    portable::mark_to_market(close, held, equity)
}

/// See `portable::lower_troughs`.
#[inline(always)]
pub fn lower_troughs<const FROM_CLOSE: bool>(values: &[f64], held: Held, peak: f64, troughs: &mut [f64; LANES]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if instruction_set() == InstructionSet::Avx512 {
        // SAFETY: `instruction_set` has checked that the machine has these instructions.
        return unsafe { x86::lower_troughs::<FROM_CLOSE>(values, held, peak, troughs) };
    }
    #[cfg(target_arch = "x86_64")]
    if instruction_set() == InstructionSet::Avx2 {
        // SAFETY: as above.
        return unsafe { x86::lower_troughs_avx2::<FROM_CLOSE>(values, held, peak, troughs) };
    }
    portable::lower_troughs::<FROM_CLOSE>(values, held, peak, troughs)
}

/// Set all `values` to `value`.
#[inline(always)]
pub fn fill(values: &mut [f64], value: f64) {
    #[cfg(target_arch = "x86_64")]
    if instruction_set() == InstructionSet::Avx512 {
        // SAFETY: `instruction_set` has checked that the machine has these instructions.
        return unsafe { x86::fill(values, value) };
    }
    values.fill(value);
}

/// The first bar whose low is at or below `lower` (if `LOW`) or whose high is at or above `upper` (if `HIGH`); the number of bars if there
/// is none.
#[inline(always)]
pub fn first_outside<const LOW: bool, const HIGH: bool>(low: &[f64], high: &[f64], lower: f64, upper: f64) -> usize {
    #[cfg(target_arch = "x86_64")]
    if instruction_set() == InstructionSet::Avx512 {
        // SAFETY: `instruction_set` has checked that the machine has these instructions.
        return unsafe { x86::first_outside::<LOW, HIGH>(low, high, lower, upper) };
    }
    #[cfg(target_arch = "x86_64")]
    if instruction_set() == InstructionSet::Avx2 {
        // SAFETY: as above.
        return unsafe { x86::first_outside_avx2::<LOW, HIGH>(low, high, lower, upper) };
    }
    portable::first_where(if LOW { low } else { high }, if HIGH { high } else { low }, |low, high| {
        (LOW & (low <= lower)) | (HIGH & (high >= upper))
    })
}
