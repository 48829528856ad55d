//! Numbers as people read them.

/// `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12,345`, or with decimals where the number is small.
pub(super) fn rate(number: f64) -> String {
    match number {
        _ if number >= 100.0 => count(number.round() as u64),
        _ if number > 0.0 => format!("{number:.2}"),
        _ => "0".into(),
    }
}

/// Microseconds to three digits: `43.2 us`, `1.25 ms`, `2.50 s`.
pub(super) fn time(us: f64) -> String {
    match us {
        _ if us >= 1e8 => format!("{:.0} s", us / 1e6),
        _ if us >= 1e6 => format!("{:.2} s", us / 1e6),
        _ if us >= 1e5 => format!("{:.0} ms", us / 1e3),
        _ if us >= 1e4 => format!("{:.1} ms", us / 1e3),
        _ if us >= 1e3 => format!("{:.2} ms", us / 1e3),
        _ if us == 0.0 => "0".into(),
        _ if us >= 100.0 => format!("{us:.0} us"),
        _ => format!("{us:.1} us"),
    }
}

/// `4.5 KiB`.
pub(super) fn bytes(bytes: f64) -> String {
    let units = [(1024.0 * 1024.0 * 1024.0, "GiB"), (1024.0 * 1024.0, "MiB"), (1024.0, "KiB")];
    match units.iter().find(|(size, _)| bytes.abs() >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", bytes / size),
        None => format!("{bytes:.0} B"),
    }
}

/// `95 %`.
pub(super) fn share(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [count(0), count(999), count(1000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [time(0.5), time(43.21), time(1250.0), time(381_250.0), time(2.5e6), time(3.6e9)],
            ["0.5 us", "43.2 us", "1.25 ms", "381 ms", "2.50 s", "3600 s"]
        );
        assert_eq!([bytes(112.0), bytes(-2048.0)], ["112 B", "-2.0 KiB"]);
        assert_eq!([rate(0.0), rate(2.5), rate(70_876.3)], ["0", "2.50", "70,876"]);
    }
}
