//! Bars with the range of their pairs, as SVG that is readable on light and dark pages.

use std::fmt::Write;

use crate::record::Spread;

/// One bar.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) spread: Spread,
    /// Ours is drawn in a colour of its own.
    pub(crate) is_ours: bool,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 24.0;
const TOP: f64 = 36.0;
/// Beyond this, the longest bar would hide the differences between the others.
const LINEAR_MAX: f64 = 8.0;

const STYLE: &str = "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}\
    .other{fill:#8aa0b8}.ours{fill:#d9772b}.range{stroke:#222}.one{stroke:#999;stroke-dasharray:4 3}\
    @media(prefers-color-scheme:dark){text{fill:#ddd}.range{stroke:#eee}}";

/// Ratios to a reference; where they go far apart, the axis is logarithmic and says so.
pub(crate) fn bars(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.spread.most).fold(1.0, f64::max);
    let least = bars.iter().map(|bar| bar.spread.least).fold(1.0, f64::min).max(1e-3);
    let is_logarithmic = most > LINEAR_MAX;
    let scale = |value: f64| {
        let share = if is_logarithmic {
            let begin = (least / 2.0).ln();
            (value.max(1e-3).ln() - begin) / (most.ln() - begin)
        } else {
            value / most
        };
        LEFT + share.max(0.0) * (WIDTH - LEFT - RIGHT)
    };
    let height = TOP + ROW * bars.len() as f64 + 10.0;
    let axis = if is_logarithmic { " (logarithmic)" } else { "" };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <style>{STYLE}</style>\n<text class=\"title\" x=\"8\" y=\"20\">{}{axis}</text>\n",
        escaped(title),
    );
    for (row, bar) in bars.iter().enumerate() {
        let Spread { median, least, most, .. } = bar.spread;
        let (y, begin) = (TOP + ROW * row as f64, LEFT);
        let (middle, class) = (y + ROW / 2.0 - 2.0, if bar.is_ours { "ours" } else { "other" });
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{begin}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <line class=\"range\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{median:.2}</text>",
            LEFT - 8.0,
            middle + 4.0,
            escaped(&bar.name),
            scale(median) - begin,
            ROW - 4.0,
            scale(least),
            scale(most),
            scale(most) + 8.0,
            middle + 4.0,
        );
    }
    let (one, bottom) = (scale(1.0), height - 8.0);
    let _ = writeln!(
        out,
        "<line class=\"one\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\n</svg>"
    );
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
