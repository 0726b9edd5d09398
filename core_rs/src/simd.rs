//! Run-time dispatch. Loops are written once, in plain Rust that the compiler vectorises; the macro compiles them for the baseline,
//! for AVX2 and for AVX-512, and picks one at the first call. No version contracts or reorders a float operation, so all give the same bits.

/// Compiles `$body`, an `#[inline(always)]` function, once for each instruction set and calls the best that the machine has.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident$(<$life:lifetime>)?($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path;) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name$(<$life>)?($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                fn avx2$(<$life>)?($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                fn avx512$(<$life>)?($($arg: $ty),*) $(-> $ret)? {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Baseline,
    Avx2,
    Avx512,
}

/// What this machine has, found out once.
pub fn level() -> Level {
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
    static FOUND: AtomicU8 = AtomicU8::new(u8::MAX);
    match FOUND.load(Relaxed) {
        0 => Level::Baseline,
        1 => Level::Avx2,
        2 => Level::Avx512,
        _ => {
            let found = detect();
            FOUND.store(found as u8, Relaxed);
            found
        }
    }
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
        Test::Gt => crate::bits::word(a.len(), |i| a[i] > b[i]),
        Test::Ge => crate::bits::word(a.len(), |i| a[i] >= b[i]),
        Test::Eq => crate::bits::word(a.len(), |i| a[i] == b[i]),
    }
}

/// Truths to bits, 64 a word; bits past the end are 0.
pub fn pack(truths: &[bool], out: &mut [u64]) {
    let mut chunks = truths.chunks(64);
    for word in out {
        *word = chunks.next().map_or(0, pack_word);
    }
}

#[inline(always)]
fn pack_word(truths: &[bool]) -> u64 {
    let mut word = 0;
    let (eights, rest) = truths.as_chunks::<8>();
    for (k, eight) in eights.iter().enumerate() {
        // The product gathers the lowest bit of each byte in the top byte.
        let bytes = u64::from_le_bytes(eight.map(u8::from));
        word |= (bytes.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * k);
    }
    for (i, &truth) in rest.iter().enumerate() {
        word |= u64::from(truth) << (eights.len() * 8 + i);
    }
    word
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Test;
    use std::arch::x86_64::{
        _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _mm256_cmp_pd, _mm256_loadu_pd, _mm256_movemask_pd, _mm512_cmp_pd_mask, _mm512_loadu_pd,
    };

    #[target_feature(enable = "avx512f")]
    pub fn words_avx512(test: Test, a: &[[f64; 64]], b: &[[f64; 64]], out: &mut [u64]) {
        let words = out.iter_mut().zip(a.iter().zip(b));
        match test {
            Test::Gt => words.for_each(|(out, (a, b))| *out = word512::<_CMP_GT_OQ>(a, b)),
            Test::Ge => words.for_each(|(out, (a, b))| *out = word512::<_CMP_GE_OQ>(a, b)),
            Test::Eq => words.for_each(|(out, (a, b))| *out = word512::<_CMP_EQ_OQ>(a, b)),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn word512<const OP: i32>(a: &[f64; 64], b: &[f64; 64]) -> u64 {
        let mut bits = 0;
        for k in 0..8 {
            // SAFETY: 8 values from position 8 k lie inside the 64 of each array.
            let (x, y) = unsafe { (_mm512_loadu_pd(a.as_ptr().add(8 * k)), _mm512_loadu_pd(b.as_ptr().add(8 * k))) };
            bits |= u64::from(_mm512_cmp_pd_mask::<OP>(x, y)) << (8 * k);
        }
        bits
    }

    #[target_feature(enable = "avx512f")]
    pub fn both_ways_avx512(a: &[[f64; 64]], b: &[[f64; 64]], above: &mut [u64], below: &mut [u64]) {
        for ((above, below), (a, b)) in above.iter_mut().zip(below).zip(a.iter().zip(b)) {
            let (mut gt, mut lt) = (0, 0);
            for k in 0..8 {
                // SAFETY: 8 values from position 8 k lie inside the 64 of each array.
                let (x, y) = unsafe { (_mm512_loadu_pd(a.as_ptr().add(8 * k)), _mm512_loadu_pd(b.as_ptr().add(8 * k))) };
                gt |= u64::from(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(x, y)) << (8 * k);
                lt |= u64::from(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(y, x)) << (8 * k);
            }
            (*above, *below) = (gt, lt);
        }
    }

    #[target_feature(enable = "avx2")]
    pub fn words_avx2(test: Test, a: &[[f64; 64]], b: &[[f64; 64]], out: &mut [u64]) {
        let words = out.iter_mut().zip(a.iter().zip(b));
        match test {
            Test::Gt => words.for_each(|(out, (a, b))| *out = word256::<_CMP_GT_OQ>(a, b)),
            Test::Ge => words.for_each(|(out, (a, b))| *out = word256::<_CMP_GE_OQ>(a, b)),
            Test::Eq => words.for_each(|(out, (a, b))| *out = word256::<_CMP_EQ_OQ>(a, b)),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn word256<const OP: i32>(a: &[f64; 64], b: &[f64; 64]) -> u64 {
        let mut bits = 0;
        for k in 0..16 {
            // SAFETY: 4 values from position 4 k lie inside the 64 of each array.
            let (x, y) = unsafe { (_mm256_loadu_pd(a.as_ptr().add(4 * k)), _mm256_loadu_pd(b.as_ptr().add(4 * k))) };
            bits |= u64::from(_mm256_movemask_pd(_mm256_cmp_pd::<OP>(x, y)) as u32) << (4 * k);
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::{Test, compare};

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
