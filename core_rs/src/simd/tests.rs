use crate::simd::held::Held;
use crate::simd::{
    Predicate, compare, compare_both_ways, extremes, first_outside, lower_troughs, mark_to_market, pack_bools, portable, running_sum,
};

#[test]
fn packed_bools_keep_their_places_at_every_length() {
    let bools: Vec<u8> = (0..200).map(|i| [0, 1, 0, 2, 255][i * i % 5]).collect();
    for n in [0, 1, 8, 63, 64, 65, 128, 200] {
        let mut words = [u64::MAX; 4];
        pack_bools(&bools[..n], &mut words);
        for i in 0..256 {
            assert_eq!(words[i / 64] >> (i % 64) & 1 != 0, i < n && bools[i] != 0, "{n} {i}");
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
        for (test, expected) in
            [(Predicate::Gt, (|x, y| x > y) as fn(f64, f64) -> bool), (Predicate::Ge, |x, y| x >= y), (Predicate::Eq, |x, y| x == y)]
        {
            let mut words = [u64::MAX; 4];
            compare(test, &a[..n], &b[..n], &mut words);
            for i in 0..256 {
                assert_eq!(words[i / 64] >> (i % 64) & 1 != 0, i < n && expected(a[i], b[i]), "{n} {i}");
            }
        }
    }
}

#[test]
fn comparisons_both_ways_are_those_of_each_way() {
    let a: Vec<f64> = (0..320).map(|i| f64::from(i * 37 % 101)).collect();
    for (every, value) in [(1000, 0.0), (1000, f64::NAN), (90, f64::NAN), (70, 0.0), (1, 0.0)] {
        let b: Vec<f64> = a.iter().zip(0..).map(|(x, i)| x + if i % every == every - 1 { value } else { f64::from(i % 2) - 0.5 }).collect();
        for n in [0, 1, 63, 64, 65, 192, 320] {
            let (mut above, mut below) = ([u64::MAX; 5], [u64::MAX; 5]);
            compare_both_ways(&a[..n], &b[..n], &mut above, &mut below);
            for i in 0..320 {
                let bits = (above[i / 64] >> (i % 64) & 1 != 0, below[i / 64] >> (i % 64) & 1 != 0);
                assert_eq!(bits, (i < n && a[i] > b[i], i < n && a[i] < b[i]), "{every} {value} {n} {i}");
            }
        }
    }
}

fn first(low: &[f64], high: &[f64], lower: f64, upper: f64) -> usize {
    let found = first_outside::<true, true>(low, high, lower, upper);
    assert_eq!(found, portable::first_where(low, high, |low, high| (low <= lower) | (high >= upper)));
    found
}

#[test]
fn extremes_and_first_outside_see_every_value_at_every_length() {
    for n in 0..40 {
        let flat = vec![5.0; n];
        assert_eq!(first(&flat, &flat, 4.0, 6.0), n);
        for at in 0..n {
            let mut values = flat.clone();
            values[at] = 2.0;
            assert_eq!(extremes(&values, &flat), (2.0, 5.0), "{n} {at}");
            assert_eq!(portable::extremes(&values, &flat), (2.0, 5.0), "{n} {at}");
            assert_eq!(first(&values, &flat, 2.0, 6.0), at, "{n}");
            assert_eq!(first_outside::<true, false>(&values, &flat, 2.0, f64::INFINITY), at, "{n}");
            values[at] = 7.0;
            assert_eq!(extremes(&flat, &values), (5.0, 7.0), "{n} {at}");
            assert_eq!(portable::extremes(&flat, &values), (5.0, 7.0), "{n} {at}");
            assert_eq!(first(&flat, &values, 4.0, 7.0), at, "{n}");
            assert_eq!(first_outside::<false, true>(&flat, &values, f64::NEG_INFINITY, 7.0), at, "{n}");
            values[at] = f64::NAN;
            let expected = if n == 1 { (f64::INFINITY, f64::NEG_INFINITY) } else { (5.0, 5.0) };
            assert_eq!(extremes(&values, &values), expected, "{n} {at}");
            assert_eq!(portable::extremes(&values, &values), expected, "{n} {at}");
        }
    }
}

#[test]
fn equity_has_the_same_bits_with_and_without_x86_instructions() {
    let held = Held { balance: 1000.1, quantity: -0.3, entry: 101.7, ruin: 990.0 };
    for n in 0..40 {
        let close: Vec<f64> = (0..n).map(|i| 100.0 + 7.3 * f64::from(i * i % 11)).collect();
        let (mut a, mut b) = (vec![0.0; close.len()], vec![0.0; close.len()]);
        assert_eq!(mark_to_market(&close, held, &mut a), portable::mark_to_market(&close, held, &mut b));
        assert_eq!(a, close.iter().map(|&close| held.equity(close)).collect::<Vec<_>>());
        assert_eq!(a, b);
    }
}

#[test]
fn lower_troughs_stops_at_the_same_group_with_and_without_x86_instructions() {
    fn check<const FROM_CLOSE: bool>(values: &[f64], held: Held, peak: f64) -> usize {
        let (mut a, mut b) = ([200.0; portable::LANES], [200.0; portable::LANES]);
        let done = lower_troughs::<FROM_CLOSE>(values, held, peak, &mut a);
        assert_eq!(done, portable::lower_troughs::<FROM_CLOSE>(values, held, peak, &mut b));
        assert_eq!(a, b);
        done
    }
    let held = Held { balance: 100.0, quantity: -2.0, entry: 100.0, ruin: 1e-7 };
    for n in 0..40 {
        let flat = vec![100.0; n];
        assert_eq!(check::<false>(&flat, held, 101.0), n);
        for at in 0..n {
            let mut values = flat.clone();
            values[at] = f64::NAN;
            assert_eq!(check::<true>(&values, held, 101.0), n, "{n} {at}");
            values[at] = 101.0;
            assert_eq!(check::<false>(&values, held, 101.0), at / portable::LANES * portable::LANES, "{n} {at}");
            values[at] = 90.0;
            assert_eq!(check::<true>(&values, held, 120.0), at / portable::LANES * portable::LANES, "{n} {at}");
            values[at] = 150.0;
            assert_eq!(check::<true>(&values, held, 120.0), at / portable::LANES * portable::LANES, "{n} {at}");
        }
    }
}
