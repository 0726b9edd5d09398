//! Run-time dispatch. Loops are written once, in plain Rust that the compiler vectorises; the macro compiles them for the baseline,
//! for AVX2 and for AVX-512, and picks one at the first call. No version contracts or reorders a float operation, so all give the same bits.

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
pub use crate::simd::portable::Test;

/// Compiles `$body`, an `#[inline(always)]` function, once for each instruction set and calls the best that the machine has.
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
                match $crate::simd::level() {
                    // SAFETY: `level` has seen that the machine has these instructions.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::simd::Level::Baseline => {}
                }
            }
            $body($($arg),*)
        }
    };
}
pub(crate) use multiversion;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Baseline,
    Avx2,
    Avx512,
}

/// What this machine has, found out once.
#[inline(always)]
pub fn level() -> Level {
    match FOUND.load(Relaxed) {
        0 => Level::Baseline,
        1 => Level::Avx2,
        2 => Level::Avx512,
        _ => find(),
    }
}

static FOUND: AtomicU8 = AtomicU8::new(u8::MAX);

#[cold]
fn find() -> Level {
    // Less may be asked for, so that one machine can show that all give the same bits.
    let most = match std::env::var("BARSTORM_SIMD").as_deref() {
        Ok("baseline") => Level::Baseline,
        Ok("avx2") => Level::Avx2,
        _ => Level::Avx512,
    };
    let found = detect().min(most);
    FOUND.store(found as u8, Relaxed);
    found
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
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
        (true, _) => Level::Avx512,
        (_, true) => Level::Avx2,
        _ => Level::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Baseline
}

/// Bit `i` of `out` says whether `a[i]` and `b[i]` pass the test; bits past the end are 0.
pub fn compare(test: Test, a: &[f64], b: &[f64], out: &mut [u64]) {
    let n = a.len().min(b.len());
    let (whole, rest) = out.split_at_mut((n / 64).min(out.len()));
    let (a_words, b_words) = (a[..n].as_chunks::<64>().0, b[..n].as_chunks::<64>().0);
    match level() {
        // SAFETY: `level` has seen that the machine has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { x86::words_avx512(test, a_words, b_words, whole) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { x86::words_avx2(test, a_words, b_words, whole) },
        _ => whole.iter_mut().zip(a_words.iter().zip(b_words)).for_each(|(out, (a, b))| *out = portable::compare_word(test, a, b)),
    }
    if let Some((first, beyond)) = rest.split_first_mut() {
        *first = portable::compare_word(test, &a[n / 64 * 64..n], &b[n / 64 * 64..n]);
        beyond.fill(0);
    }
}

/// Both `a > b` and `a < b` in one pass over the values, as `compare`.
pub fn compare_both_ways(a: &[f64], b: &[f64], above: &mut [u64], below: &mut [u64]) {
    let n = a.len().min(b.len());
    let whole = (n / 64).min(above.len()).min(below.len());
    let (a_words, b_words) = (a[..n].as_chunks::<64>().0, b[..n].as_chunks::<64>().0);
    match level() {
        // SAFETY: `level` has seen that the machine has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { x86::both_ways_avx512(a_words, b_words, &mut above[..whole], &mut below[..whole]) },
        _ => {
            compare(Test::Gt, &a[..whole * 64], &b[..whole * 64], &mut above[..whole]);
            compare(Test::Gt, &b[..whole * 64], &a[..whole * 64], &mut below[..whole]);
        }
    }
    compare(Test::Gt, &a[whole * 64..n], &b[whole * 64..n], &mut above[whole..]);
    compare(Test::Gt, &b[whole * 64..n], &a[whole * 64..n], &mut below[whole..]);
}

/// Ask for a value's cache line ahead of its use.
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

/// Replace each value by the wrapping sum of `before` and all values up to it; gives the last sum.
pub fn running_sum(values: &mut [i64], before: i64) -> i64 {
    let (groups, rest) = values.as_chunks_mut::<8>();
    let sum = match level() {
        // SAFETY: `level` has seen that the machine has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { x86::running_sum(groups, before) },
        _ => portable::running_sum(groups.as_flattened_mut(), before),
    };
    portable::running_sum(rest, sum)
}

/// Which bytes are not 0, as bits, 64 a word; bits past the end are 0.
pub fn pack(truths: &[u8], out: &mut [u64]) {
    let (words, rest) = truths.as_chunks::<64>();
    let (whole, beyond) = out.split_at_mut(words.len().min(out.len()));
    match level() {
        // SAFETY: `level` has seen that the machine has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { x86::pack_avx512(words, whole) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { x86::pack_avx2(words, whole) },
        _ => whole.iter_mut().zip(words).for_each(|(out, truths)| *out = portable::pack_word(truths)),
    }
    if let Some((first, beyond)) = beyond.split_first_mut() {
        *first = portable::pack_word(rest);
        beyond.fill(0);
    }
}

/// The lowest value of `low` and the highest of `high`, which are of one length; infinity and its negative where there is none but NaN.
#[inline(always)]
pub fn extremes(low: &[f64], high: &[f64]) -> (f64, f64) {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: `level` has seen that the machine has these instructions.
        return unsafe { x86::extremes(low, high) };
    }
    portable::extremes(low, high)
}

/// Fill in equity of a position from the close; says whether it is 0 or less anywhere.
#[inline(always)]
pub fn mark(close: &[f64], held: Held, equity: &mut [f64]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: `level` has seen that the machine has these instructions.
        return unsafe { x86::mark(close, held, equity) };
    }
    portable::mark(close, held, equity)
}

/// See `portable::sink`.
#[inline(always)]
pub fn sink<const MARKED: bool>(values: &[f64], held: Held, peak: f64, troughs: &mut [f64; LANES]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: `level` has seen that the machine has these instructions.
        return unsafe { x86::sink::<MARKED>(values, held, peak, troughs) };
    }
    portable::sink::<MARKED>(values, held, peak, troughs)
}

/// Set all values to one.
#[inline(always)]
pub fn fill(values: &mut [f64], value: f64) {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: `level` has seen that the machine has these instructions.
        return unsafe { x86::fill(values, value) };
    }
    values.fill(value);
}

/// The first bar whose low is at or below `lower` (if `LOW`) or whose high is at or above `upper` (if `HIGH`); the number of bars where
/// there is none.
#[inline(always)]
pub fn first_outside<const LOW: bool, const HIGH: bool>(low: &[f64], high: &[f64], lower: f64, upper: f64) -> usize {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: `level` has seen that the machine has these instructions.
        return unsafe { x86::first_outside::<LOW, HIGH>(low, high, lower, upper) };
    }
    portable::first(if LOW { low } else { high }, if HIGH { high } else { low }, |low, high| {
        (LOW & (low <= lower)) | (HIGH & (high >= upper))
    })
}
