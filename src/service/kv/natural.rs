//! Natural numbers of any size, as far as numbers with a fraction are read and written with them.

use std::cmp::Ordering;

/// A number in digits of 32 bits, the lowest first and none of the highest 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Natural(Vec<u32>);

impl Natural {
    pub(super) fn new(value: u64) -> Self {
        let mut number = Natural(vec![value as u32, (value >> 32) as u32]);
        number.trim();
        number
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bits it has.
    pub(super) fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    /// Multiplies by what is not 0.
    pub(super) fn multiply_and_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for digit in &mut self.0 {
            // At most (2^32 - 1)^2 + 2^32 - 1, which is below 2^64.
            let sum = u64::from(*digit) * u64::from(factor) + carry;
            (*digit, carry) = (sum as u32, sum >> 32);
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    /// Multiplies by 5 so many times.
    pub(super) fn multiply_by_power_of_5(&mut self, mut exponent: u32) {
        while exponent > 0 {
            let step = exponent.min(POWER_OF_5_MAX);
            self.multiply_and_add(5u32.pow(step), 0);
            exponent -= step;
        }
    }

    pub(super) fn shift_left(&mut self, bits: usize) {
        let (digits, bits) = (bits / 32, bits % 32);
        if bits > 0 {
            self.multiply_and_add(1 << bits, 0);
        }
        if !self.is_zero() {
            self.0.splice(..0, std::iter::repeat_n(0, digits));
        }
    }

    /// Takes away a number that is not larger.
    fn subtract(&mut self, other: &Natural) {
        let mut borrow = false;
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        for (digit, other) in self.0.iter_mut().zip(others) {
            let (difference, under) = digit.overflowing_sub(other);
            let (difference, under_by_borrow) = difference.overflowing_sub(u32::from(borrow));
            (*digit, borrow) = (difference, under || under_by_borrow);
        }
        self.trim();
    }

    /// The quotient by another number, which is known to have less than 128 bits, and whether
    /// something is left over.
    pub(super) fn divide(mut self, by: &Natural) -> (u128, bool) {
        let places = (self.bits() + 1).saturating_sub(by.bits());
        let mut divisor = by.clone();
        divisor.shift_left(places);
        let mut quotient = 0;
        // One bit after the other, the highest first; what is left is doubled instead of halving
        // the divisor.
        for _ in 0..=places {
            quotient <<= 1;
            if self >= divisor {
                self.subtract(&divisor);
                quotient |= 1;
            }
            self.multiply_and_add(2, 0);
        }
        (quotient, !self.is_zero())
    }

    /// Its decimal digits.
    pub(super) fn into_decimal(mut self) -> String {
        let mut groups = Vec::new();
        while !self.is_zero() {
            groups.push(self.divide_by_group());
        }
        let mut text = groups.pop().unwrap_or(0).to_string();
        groups.iter().rev().for_each(|group| text.push_str(&format!("{group:09}")));
        text
    }

    /// Divides by as many digits as fit; returns what is left over.
    fn divide_by_group(&mut self) -> u32 {
        let mut rest = 0;
        for digit in self.0.iter_mut().rev() {
            let value = rest << 32 | u64::from(*digit);
            (*digit, rest) = ((value / GROUP) as u32, value % GROUP);
        }
        self.trim();
        rest as u32
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_len = self.0.len().cmp(&other.0.len());
        by_len.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

/// The largest power of 5 within 32 bits.
const POWER_OF_5_MAX: u32 = 13;
/// Nine decimal digits.
const GROUP: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reckons_as_numbers_of_128_bits_do(a: u64, b: u64, factor in 1u32.., shift in 0usize..30) {
            let of = |value: u128| {
                let mut number = Natural::new((value >> 64) as u64);
                number.shift_left(64);
                number.0.resize(4, 0);
                (number.0[0], number.0[1]) = (value as u32, (value >> 32) as u32);
                number.trim();
                number
            };
            let product = u128::from(a) * u128::from(factor) + u128::from(b as u32);
            let mut number = Natural::new(a);
            number.multiply_and_add(factor, b as u32);
            prop_assert_eq!(&number, &of(product));
            prop_assert_eq!(number.clone().into_decimal(), product.to_string());
            prop_assert_eq!(number.bits() as u32, 128 - product.leading_zeros());
            number.shift_left(shift);
            prop_assert_eq!(&number, &of(product << shift));
            for divisor in [b, b >> 40, b >> 63].into_iter().filter(|it| *it > 0) {
                let (quotient, rest) = number.clone().divide(&Natural::new(divisor));
                prop_assert_eq!(quotient, (product << shift) / u128::from(divisor));
                prop_assert_eq!(rest, (product << shift) % u128::from(divisor) > 0);
            }
        }
    }

    #[test]
    fn power_of_ten_is_a_power_of_5_and_a_shift() {
        let mut number = Natural::new(1);
        number.multiply_by_power_of_5(100);
        number.shift_left(100);
        assert_eq!(number.into_decimal(), format!("1{}", "0".repeat(100)));
        assert_eq!(Natural::new(0).into_decimal(), "0");
    }
}
