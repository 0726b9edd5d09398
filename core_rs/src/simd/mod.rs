//! Run-time dispatch. Loops are written once, in plain Rust that the compiler vectorises; the macro compiles them for the baseline,
//! for AVX2 and for AVX-512, and picks one at the first call. No version contracts or reorders a float operation, so all give the same bits.

pub mod bitmask;
pub mod portable;

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::simd::portable::LANES;
use crate::simulation::equity_curve::Held;

#[cfg(target_arch = "x86_64")]
mod x86;

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

/// Ordered comparisons, which are false for NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    Gt,
    Ge,
    Eq,
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
        _ => whole.iter_mut().zip(a_words.iter().zip(b_words)).for_each(|(out, (a, b))| *out = compare_word(test, a, b)),
    }
    if let Some((first, beyond)) = rest.split_first_mut() {
        *first = compare_word(test, &a[n / 64 * 64..n], &b[n / 64 * 64..n]);
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

fn compare_word(test: Test, a: &[f64], b: &[f64]) -> u64 {
    match test {
        Test::Gt => crate::simd::bitmask::word(a.len(), |i| a[i] > b[i]),
        Test::Ge => crate::simd::bitmask::word(a.len(), |i| a[i] >= b[i]),
        Test::Eq => crate::simd::bitmask::word(a.len(), |i| a[i] == b[i]),
    }
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
        _ => add_up(groups.as_flattened_mut(), before),
    };
    add_up(rest, sum)
}

fn add_up(values: &mut [i64], before: i64) -> i64 {
    values.iter_mut().fold(before, |sum, value| {
        *value = sum.wrapping_add(*value);
        *value
    })
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
        _ => whole.iter_mut().zip(words).for_each(|(out, truths)| *out = pack_word(truths)),
    }
    if let Some((first, beyond)) = beyond.split_first_mut() {
        *first = pack_word(rest);
        beyond.fill(0);
    }
}

fn pack_word(truths: &[u8]) -> u64 {
    let mut word = 0;
    let (eights, rest) = truths.as_chunks::<8>();
    for (k, eight) in eights.iter().enumerate() {
        // The product gathers the lowest bit of each byte in the top byte.
        let bytes = u64::from_le_bytes(eight.map(|truth| u8::from(truth != 0)));
        word |= (bytes.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * k);
    }
    for (i, &truth) in rest.iter().enumerate() {
        word |= u64::from(truth != 0) << (eights.len() * 8 + i);
    }
    word
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

#[cfg(test)]
mod tests {
    use super::{Test, compare, pack, running_sum};

    #[test]
    fn truths_keep_their_places_at_every_length() {
        let truths: Vec<u8> = (0..200).map(|i| [0, 1, 0, 2, 255][i * i % 5]).collect();
        for n in [0, 1, 8, 63, 64, 65, 128, 200] {
            let mut words = [u64::MAX; 4];
            pack(&truths[..n], &mut words);
            for i in 0..256 {
                assert_eq!(words[i / 64] >> (i % 64) & 1 != 0, i < n && truths[i] != 0, "{n} {i}");
            }
        }
    }

    #[test]
    fn running_sums_wrap_and_cover_every_length() {
        for n in 0..40 {
            let values: Vec<i64> = (0..n).map(|i| i * i * i - 500).chain([i64::MAX, 3]).collect();
            let (mut sums, mut sum) = (values.clone(), 7_i64);
            let last = running_sum(&mut sums, 7);
            for (value, found) in values.iter().zip(&sums) {
                sum = sum.wrapping_add(*value);
                assert_eq!(*found, sum, "{n}");
            }
            assert_eq!(last, sum);
        }
    }

    #[test]
    fn comparisons_are_ordered_and_cover_every_length() {
        let a: Vec<f64> = (0..200).map(|i| if i % 7 == 0 { f64::NAN } else { f64::from(i % 5) }).collect();
        let b: Vec<f64> = (0..200).map(|i| if i % 11 == 0 { f64::NAN } else { f64::from(i % 3) }).collect();
        for n in [0, 1, 63, 64, 65, 128, 200] {
            for (test, wanted) in [(Test::Gt, (|x, y| x > y) as fn(f64, f64) -> bool), (Test::Ge, |x, y| x >= y), (Test::Eq, |x, y| x == y)]
            {
                let mut words = [u64::MAX; 4];
                compare(test, &a[..n], &b[..n], &mut words);
                for i in 0..256 {
                    assert_eq!(words[i / 64] >> (i % 64) & 1 != 0, i < n && wanted(a[i], b[i]), "{n} {i}");
                }
            }
        }
    }
}
