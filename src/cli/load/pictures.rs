//! Pictures for the page, as SVG without any font of the system.
//!
//! The library that draws knows fixed colours only. Placeholders are drawn, and replaced by names
//! that the page defines once for light and once for dark.

use edgeloop::load::{Report, Step};
use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use super::figures;

/// One line of a picture.
struct Curve {
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// How large a picture is drawn: what is legible on a desk is not on a telephone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Wide,
    Narrow,
}

/// Latency by percentile, over an axis that counts nines; time on a logarithmic scale.
pub(super) fn percentiles(rows: &[(String, &Step)], shape: Shape) -> Option<String> {
    let curves: Vec<Curve> = rows
        .iter()
        .enumerate()
        .map(|(index, (_, step))| Curve { color: color(index), points: nines(step) })
        .filter(|curve| curve.points.len() > 1)
        .collect();
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let right = all().map(|point| point.0).fold(1.0, f64::max).min(NINES_MAX);
    let low = all().map(|point| point.1).fold(f64::MAX, f64::min);
    let high = all().map(|point| point.1).fold(0.0, f64::max);
    if curves.is_empty() {
        return None;
    }
    let times = (low * 0.8)..(high * 1.25).max(low * 10.0);
    let label = |nines: &f64| match nines.round() as i32 {
        n if shape == Shape::Narrow && n > 0 && n % 2 == 0 => String::new(),
        0 => "0 %".into(),
        1 => "90 %".into(),
        n => format!("99{}{} %", if n > 2 { "." } else { "" }, "9".repeat((n - 2) as usize)),
    };
    let mut svg = String::new();
    let drawn = draw(&mut svg, shape, |root| {
        let mut chart = frame(root).build_cartesian_2d(0.0..right, times.log_scale())?;
        let mut mesh = chart.configure_mesh();
        mesh.x_labels(right as usize + 1).x_label_formatter(&label);
        mesh.y_label_formatter(&|us| figures::time(*us)).y_labels(8);
        style(&mut mesh)?;
        for curve in &curves {
            let line = curve.points.iter().copied().filter(|(nines, _)| *nines <= right);
            chart.draw_series(LineSeries::new(line, curve.color.stroke_width(2)))?;
        }
        Ok(())
    });
    drawn.ok().map(|()| themed(svg, shape))
}

/// Answers in each second.
pub(super) fn rate(rows: &[(String, &Step)], shape: Shape) -> Option<String> {
    over_time(rows, shape, |sample| sample.messages as f64, |rate| figures::count(*rate as u64))
}

/// The 99th percentile of each second.
pub(super) fn p99(rows: &[(String, &Step)], shape: Shape) -> Option<String> {
    over_time(rows, shape, |sample| sample.p99_us, |us| figures::time(*us))
}

/// The rate of each step of a ramp over its connections.
pub(super) fn ramp_rate(reports: &[(String, Report)], shape: Shape) -> Option<String> {
    over_connections(reports, shape, |step| step.rate, |rate| figures::count(*rate as u64))
}

/// The 99th percentile of each step of a ramp over its connections.
pub(super) fn ramp_p99(reports: &[(String, Report)], shape: Shape) -> Option<String> {
    over_connections(reports, shape, |step| step.latency.p99_us, |us| figures::time(*us))
}

fn over_connections(
    reports: &[(String, Report)],
    shape: Shape,
    value: impl Fn(&Step) -> f64,
    label: impl Fn(&f64) -> String,
) -> Option<String> {
    let curve = |(index, (_, report)): (usize, &(String, Report))| {
        let points = report.steps.iter().map(|step| (step.connections as f64, value(step)));
        Curve { color: color(index), points: points.collect() }
    };
    let curves: Vec<Curve> = reports.iter().enumerate().map(curve).collect();
    // A run without a ramp is a point beside the lines of the others.
    if !curves.iter().any(|curve| curve.points.len() > 1) {
        return None;
    }
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let (right, high) =
        all().fold((0.0, 0.0), |(right, high): (f64, f64), (x, y)| (right.max(*x), high.max(*y)));
    let mut svg = String::new();
    let drawn = draw(&mut svg, shape, |root| {
        let (across, up) = (0.0..right * 1.02, 0.0..(high * 1.1).max(1.0));
        let mut chart = frame(root).build_cartesian_2d(across, up)?;
        let mut mesh = chart.configure_mesh();
        let labels = if shape == Shape::Wide { 9 } else { 5 };
        mesh.x_labels(labels).x_label_formatter(&|x| figures::count(*x as u64));
        mesh.y_label_formatter(&label).y_labels(6);
        style(&mut mesh)?;
        for curve in &curves {
            let points = curve.points.iter().copied();
            let dots = points.clone().map(|point| Circle::new(point, DOT, curve.color.filled()));
            chart.draw_series(LineSeries::new(points, curve.color.stroke_width(2)))?;
            chart.draw_series(dots)?;
        }
        Ok(())
    });
    drawn.ok().map(|()| themed(svg, shape))
}

fn over_time(
    rows: &[(String, &Step)],
    shape: Shape,
    value: impl Fn(&edgeloop::load::Sample) -> f64,
    label: impl Fn(&f64) -> String,
) -> Option<String> {
    let curve = |(index, (_, step)): (usize, &(String, &Step))| {
        // The last second may be cut short, and would look like a collapse.
        let whole = step.series.iter().take(step.seconds as usize);
        let points = whole.map(|sample| (sample.second as f64 + 0.5, value(sample)));
        Curve { color: color(index), points: points.collect() }
    };
    let curves: Vec<Curve> = rows.iter().enumerate().map(curve).collect();
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let (right, high) = all()
        .fold((0.0, 0.0), |(right, high): (f64, f64), (x, y)| (right.max(*x + 0.5), high.max(*y)));
    // One point is no line.
    if right < 2.0 {
        return None;
    }
    let mut svg = String::new();
    let drawn = draw(&mut svg, shape, |root| {
        let values = 0.0..(high * 1.1).max(1.0);
        let mut chart = frame(root).build_cartesian_2d(0.0..right, values)?;
        let mut mesh = chart.configure_mesh();
        let seconds = (right as usize + 1).min(if shape == Shape::Wide { 11 } else { 5 });
        mesh.x_labels(seconds).x_label_formatter(&|second| match second.fract() == 0.0 {
            true => format!("{second:.0} s"),
            false => String::new(),
        });
        mesh.y_label_formatter(&label).y_labels(6);
        style(&mut mesh)?;
        for curve in &curves {
            let points = curve.points.iter().copied();
            if curves.len() == 1 {
                let shade = curve.color.mix(0.15);
                chart.draw_series(AreaSeries::new(points.clone(), 0.0, shade))?;
            }
            if let [point] = curve.points[..] {
                let dot = Circle::new(point, DOT, curve.color.filled());
                chart.draw_series([dot])?;
            }
            chart.draw_series(LineSeries::new(points, curve.color.stroke_width(2)))?;
        }
        Ok(())
    });
    drawn.ok().map(|()| themed(svg, shape))
}

/// The share of messages by nines: 90 % is one, 99 % is two.
fn nines(step: &Step) -> Vec<(f64, f64)> {
    let inner = step.latency.curve.iter().filter(|(share, _)| *share < 1.0);
    inner.map(|(share, us)| (-(1.0 - share).log10(), us.max(0.1))).collect()
}

impl Shape {
    fn size(self) -> (u32, u32) {
        match self {
            Shape::Wide => (860, 340),
            Shape::Narrow => (400, 300),
        }
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Outcome = Result<(), Box<dyn std::error::Error>>;

fn draw(svg: &mut String, shape: Shape, contents: impl FnOnce(&Area<'_>) -> Outcome) -> Outcome {
    let root = SVGBackend::with_string(svg, shape.size()).into_drawing_area();
    contents(&root)?;
    root.present()?;
    Ok(())
}

fn frame<'a, 'b>(root: &'a Area<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(root);
    builder.margin(12).margin_right(24).x_label_area_size(32).y_label_area_size(78);
    builder
}

fn style<X, Y>(mesh: &mut MeshStyle<'_, '_, X, Y, SVGBackend<'_>>) -> Outcome
where
    X: Ranged + ValueFormatter<X::ValueType>,
    Y: Ranged + ValueFormatter<Y::ValueType>,
{
    mesh.label_style(("sans-serif", 14).into_font().color(&INK));
    mesh.axis_style(AXIS).bold_line_style(GRID).light_line_style(TRANSPARENT);
    mesh.draw()?;
    Ok(())
}

/// The name under which the page has the colour of a row.
pub(super) fn color_name(index: usize) -> &'static str {
    NAMES[index % NAMES.len()]
}

fn color(index: usize) -> RGBColor {
    RGBColor(1, 2, 10 + (index % NAMES.len()) as u8)
}

/// Puts names in the place of the colours, and lets the page decide the width.
fn themed(svg: String, shape: Shape) -> String {
    let mut text = svg;
    for (index, name) in NAMES.iter().enumerate() {
        text = text.replace(&format!("\"#{}\"", hex(color(index))), &format!("\"var({name})\""));
    }
    for (color, name) in [(INK, "--ink"), (AXIS, "--axis"), (GRID, "--grid")] {
        text = text.replace(&format!("\"#{}\"", hex(color)), &format!("\"var({name})\""));
    }
    let (width, height) = shape.size();
    text.replacen(
        &format!("width=\"{width}\" height=\"{height}\""),
        "role=\"img\" width=\"100%\"",
        1,
    )
}

fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("{red:02X}{green:02X}{blue:02X}")
}

/// Every step of every report, with the name that the legend has for it.
pub(super) fn rows_of(reports: &[(String, Report)]) -> Vec<(String, &Step)> {
    let mut rows = Vec::new();
    for (name, report) in reports {
        let is_ramp = report.steps.len() > 1;
        rows.extend(report.steps.iter().map(|step| {
            let connections = figures::count(step.connections as u64);
            let label = match (name.is_empty(), is_ramp) {
                (true, _) => format!("{connections} connections"),
                (false, true) => format!("{name}, {connections} connections"),
                (false, false) => name.clone(),
            };
            (label, step)
        }));
    }
    rows
}

/// The radius of what would be a line, were it not a single second.
const DOT: i32 = 4;
/// Seven nines: a message in ten million.
const NINES_MAX: f64 = 7.0;
const INK: RGBColor = RGBColor(1, 1, 1);
const AXIS: RGBColor = RGBColor(1, 1, 2);
const GRID: RGBColor = RGBColor(1, 1, 3);
const NAMES: [&str; 6] = ["--a", "--b", "--c", "--d", "--e", "--f"];
