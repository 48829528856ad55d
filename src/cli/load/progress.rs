//! What a terminal shows while a measurement runs: one line on stderr, or nothing.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use edgeloop::load::{Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::figures;

/// The line, redrawn with each look.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    /// Answers at an earlier moment, for the rate of this one.
    mark: (Instant, u64),
    rate: f64,
}

impl Bar {
    /// Shows nothing where stderr is no terminal.
    pub(super) fn new(is_quiet: bool) -> Bar {
        let bar = (!is_quiet && io::stderr().is_terminal()).then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let bar = ProgressBar::with_draw_target(Some(STEPS), target);
            if let Ok(style) = ProgressStyle::with_template(template()) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Bar { bar, mark: (Instant::now(), 0), rate: 0.0 }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        let Some(bar) = &self.bar else { return };
        let since = self.mark.0.elapsed();
        if since >= LOOK_BACK {
            let more = progress.answered.saturating_sub(self.mark.1);
            self.rate = more as f64 / since.as_secs_f64();
            self.mark = (Instant::now(), progress.answered);
        }
        let share = progress
            .lasts
            .map_or(0.0, |lasts| progress.elapsed.as_secs_f64() / lasts.as_secs_f64().max(1e-9));
        bar.set_position((share.min(1.0) * STEPS as f64) as u64);
        bar.set_message(self.text(progress));
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn text(&self, progress: &Progress) -> String {
        let doing = match progress.phase {
            Phase::Connecting => "connecting",
            Phase::WarmUp => "warming up",
            Phase::Measuring => "measuring",
            Phase::Finishing => "finishing",
        };
        let step = match progress.steps {
            1 => String::new(),
            steps => format!(" step {} of {steps}", progress.step),
        };
        let errors = match progress.errors {
            0 => String::new(),
            errors => format!(", {} errors", figures::count(errors)),
        };
        let (rate, connections) = (self.rate as u64, progress.connections as u64);
        let (rate, connections) = (figures::count(rate), figures::count(connections));
        format!("{doing}{step}: {connections} connections, {rate} messages/s{errors}")
    }
}

fn template() -> &'static str {
    match std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        true => "[{bar:24}] {msg}",
        false => "[{bar:24.cyan}] {msg}",
    }
}

const STEPS: u64 = 1000;
/// Long enough for the rate to be readable.
const LOOK_BACK: Duration = Duration::from_millis(500);
