//! What a run must not exceed: `p99>5ms`, `errors>0`, `rate<100000`.

use std::fmt;
use std::str::FromStr;

use super::fault::Fault;
use super::report::Step;
use super::report::{Latency, Pulses, Report};

/// A bound that a run may miss.
///
/// ```
/// use edgeloop::load::Bound;
/// let bound: Bound = "p99>5ms".parse()?;
/// assert_eq!(bound.to_string(), "p99>5ms");
/// assert!("p99>5".parse::<Bound>().is_err(), "a time needs a unit");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    metric: Metric,
    comparison: Comparison,
    /// In the metric's own unit.
    limit: f64,
    text: String,
}

/// A bound that was missed, and by what.
#[derive(Clone, Debug, PartialEq)]
pub struct Missed {
    bound: String,
    value: String,
    connections: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Time(Time),
    Number(Number),
    Fault(Fault),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Time {
    Min,
    Mean,
    P50,
    P90,
    P99,
    P999,
    Max,
    ConnectP99,
    ConnectMax,
    LatenessP99,
    PulseP99,
    OutsideP99,
    Recovery,
    ClientCpu,
    ServerCpu,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Rate,
    Messages,
    Errors,
    Unsent,
    Unanswered,
    BytesRate,
    RssPerConnection,
    Retransmits,
    ListenOverflows,
}

impl Bound {
    /// Every step of a report that misses this bound. What a report does not know, as the memory
    /// of a server that it could not see, is a miss too: a bound that cannot be checked does not
    /// hold.
    pub fn missed(&self, report: &Report) -> Vec<Missed> {
        let steps = report.steps.iter().filter_map(|step| {
            let value = self.metric.value(step);
            let is_missed = value.is_none_or(|value| match self.comparison {
                Comparison::Above => value > self.limit,
                Comparison::AtLeast => value >= self.limit,
                Comparison::Below => value < self.limit,
                Comparison::AtMost => value <= self.limit,
            });
            is_missed.then(|| Missed {
                bound: self.text.clone(),
                value: self.metric.write(value),
                connections: step.connections,
            })
        });
        steps.collect()
    }

    /// The names of all metrics, for a help and for whoever misspells one.
    pub fn metrics() -> Vec<&'static str> {
        TIMES.iter().map(|(name, _)| *name).chain(NUMBERS.iter().map(|(name, _)| *name)).collect()
    }
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Bound, String> {
        let wrong = |why: &str| format!("`{text}` is no bound: {why}");
        let Some(at) = text.find(['<', '>']) else {
            return Err(wrong("write METRIC>LIMIT or METRIC<LIMIT, as p99>5ms"));
        };
        let (name, rest) = text.split_at(at);
        let (comparison, limit) = match (rest.starts_with('>'), rest[1..].strip_prefix('=')) {
            (true, None) => (Comparison::Above, &rest[1..]),
            (true, Some(limit)) => (Comparison::AtLeast, limit),
            (false, None) => (Comparison::Below, &rest[1..]),
            (false, Some(limit)) => (Comparison::AtMost, limit),
        };
        let metric = Metric::of(name.trim()).ok_or_else(|| {
            wrong(&format!("the metrics are {}, and errors.KIND", Bound::metrics().join(", ")))
        })?;
        let limit = metric.read(limit.trim()).map_err(|why| wrong(&why))?;
        Ok(Bound { metric, comparison, limit, text: text.to_owned() })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Missed {
    /// `p99>5ms: 7.2ms with 50 connections`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} with {} connections", self.bound, self.value, self.connections)
    }
}

impl Metric {
    fn of(name: &str) -> Option<Metric> {
        let time = TIMES.iter().find(|(known, _)| *known == name);
        let number = NUMBERS.iter().find(|(known, _)| *known == name);
        let fault = || {
            let kind = name.strip_prefix("errors.")?;
            Fault::ALL.into_iter().find(|fault| fault.name() == kind)
        };
        let time = time.map(|(_, time)| Metric::Time(*time));
        let number = number.map(|(_, number)| Metric::Number(*number));
        time.or(number).or_else(|| fault().map(Metric::Fault))
    }

    /// Times in microseconds, the rest as they are.
    fn read(self, text: &str) -> Result<f64, String> {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: f64 = number.parse().map_err(|_| format!("`{text}` is no number"))?;
        let units = if matches!(self, Metric::Time(_)) { TIME_UNITS } else { NUMBER_UNITS };
        match units.iter().find(|(name, _)| *name == unit) {
            Some((_, scale)) => Ok(number * scale),
            None => Err(format!("`{text}` needs a unit: {}", names(units))),
        }
    }

    /// `None` where nobody measured it.
    fn value(self, step: &Step) -> Option<f64> {
        let (latency, server) = (&step.latency, step.server.as_ref());
        let of_latency = |value: f64| (latency.count > 0).then_some(value);
        let pulse_latency = |of: fn(&Pulses) -> &Latency| {
            let latency = step.pulses.as_ref().map(of).filter(|latency| latency.count > 0);
            latency.map(|latency| latency.p99_us)
        };
        match self {
            Metric::Fault(fault) => Some(step.errors.count(fault) as f64),
            Metric::Time(time) => match time {
                Time::Min => of_latency(latency.min_us),
                Time::Mean => of_latency(latency.mean_us),
                Time::P50 => of_latency(latency.p50_us),
                Time::P90 => of_latency(latency.p90_us),
                Time::P99 => of_latency(latency.p99_us),
                Time::P999 => of_latency(latency.p99_9_us),
                Time::Max => of_latency(latency.max_us),
                Time::ConnectP99 => Some(step.connects.latency.p99_us),
                Time::ConnectMax => Some(step.connects.latency.max_us),
                Time::LatenessP99 => step.lateness.as_ref().map(|lateness| lateness.p99_us),
                Time::PulseP99 => pulse_latency(|pulses| &pulses.within),
                Time::OutsideP99 => pulse_latency(|pulses| &pulses.outside),
                Time::Recovery => step.pulses.as_ref().and_then(Pulses::longest_recovery_us),
                Time::ClientCpu => of_latency(step.client.cpu_us_per_message),
                Time::ServerCpu => server.and_then(|it| of_latency(it.cpu_us_per_message)),
            },
            Metric::Number(number) => match number {
                Number::Rate => Some(step.rate),
                Number::Messages => Some(step.messages as f64),
                Number::Errors => Some(step.errors.total() as f64),
                Number::Unsent => Some(step.unsent as f64),
                Number::Unanswered => Some(step.unanswered as f64),
                Number::BytesRate => Some(step.bytes_rate),
                Number::RssPerConnection => server.map(|it| it.rss_per_connection_bytes),
                Number::Retransmits => step.kernel.map(|it| it.retransmits as f64),
                Number::ListenOverflows => step.kernel.map(|it| it.listen_overflows as f64),
            },
        }
    }

    fn write(self, value: Option<f64>) -> String {
        match (self, value) {
            (_, None) => "not measured".into(),
            (Metric::Time(_), Some(us)) if us >= 1e6 => format!("{:.3}s", us / 1e6),
            (Metric::Time(_), Some(us)) if us >= 1e3 => format!("{:.3}ms", us / 1e3),
            (Metric::Time(_), Some(us)) => format!("{us:.1}us"),
            (_, Some(number)) => format!("{number:.0}"),
        }
    }
}

fn names(units: &[(&str, f64)]) -> String {
    let names = units.iter().map(|(name, _)| if name.is_empty() { "none" } else { *name });
    names.collect::<Vec<_>>().join(", ")
}

const TIMES: [(&str, Time); 15] = [
    ("min", Time::Min),
    ("mean", Time::Mean),
    ("p50", Time::P50),
    ("p90", Time::P90),
    ("p99", Time::P99),
    ("p99.9", Time::P999),
    ("max", Time::Max),
    ("connect.p99", Time::ConnectP99),
    ("connect.max", Time::ConnectMax),
    ("lateness.p99", Time::LatenessP99),
    ("pulse.p99", Time::PulseP99),
    ("outside.p99", Time::OutsideP99),
    ("recovery", Time::Recovery),
    ("client.cpu", Time::ClientCpu),
    ("server.cpu", Time::ServerCpu),
];
const NUMBERS: [(&str, Number); 9] = [
    ("rate", Number::Rate),
    ("messages", Number::Messages),
    ("errors", Number::Errors),
    ("unsent", Number::Unsent),
    ("unanswered", Number::Unanswered),
    ("bytes.rate", Number::BytesRate),
    ("server.rss", Number::RssPerConnection),
    ("retransmits", Number::Retransmits),
    ("overflows", Number::ListenOverflows),
];
/// In microseconds.
const TIME_UNITS: &[(&str, f64)] = &[("us", 1.0), ("ms", 1e3), ("s", 1e6)];
const NUMBER_UNITS: &[(&str, f64)] =
    &[("", 1.0), ("k", 1e3), ("M", 1e6), ("KiB", 1024.0), ("MiB", 1_048_576.0)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_read_in_the_units_of_their_metric() {
        for (text, limit) in [
            ("p99>5ms", 5000.0),
            ("p99.9 >= 250us", 250.0),
            ("max<1.5s", 1_500_000.0),
            ("rate<100k", 100_000.0),
            ("errors>0", 0.0),
            ("errors.reset>3", 3.0),
            ("server.rss>1KiB", 1024.0),
        ] {
            assert_eq!(text.parse::<Bound>().unwrap().limit, limit, "{text}");
        }
        for text in ["p99", "p98>1ms", "p99>5", "rate>5ms", "errors>", "errors.none>1", ">1"] {
            let error = text.parse::<Bound>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
