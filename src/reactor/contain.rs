//! What becomes of a panic in code of the program: it ends the connection that the call was about,
//! and nothing else.
//!
//! A server is not ended by what one request found wrong with it; Go's `net/http` and tokio see it the
//! same way. Whoever would rather begin anew than go on with tables that a panic left half changed
//! sets [`Config::on_panic`](super::Config::on_panic). Every call of the program's code goes through
//! [`call`](LoopState::call) or [`contained`](LoopState::contained).

use super::context::Context;
use super::loop_state::LoopState;
use super::work::{PANIC, WAKE};
use crate::structures::caught::{Caught, catch};
use crate::structures::token::Token;
use crate::vocabulary::close_reason::CloseReason;
use crate::vocabulary::config::OnPanic;

impl LoopState {
    /// Calls the handler, or runs a task; `None` when it panicked. A call that is about a connection
    /// names it.
    pub(super) fn call<T>(
        &mut self,
        about: Option<Token>,
        callback: impl FnOnce(&mut Context<'_>) -> T,
    ) -> Option<T> {
        self.contained(about, |state| callback(&mut Context::new(state)))
    }

    /// Runs a task of another thread.
    pub(super) fn run(&mut self, task: impl FnOnce(&mut Context<'_>)) {
        self.stats.tasks += 1;
        self.call(None, task);
        self.charge(WAKE);
    }

    /// Runs code of the program. Nothing of the loop is half done while that runs, so nothing has to be
    /// mended here; whether its own tables are whole is for the program to say. A panic that unwinds
    /// further does leave the turn half done, and is the reactor's last.
    pub(super) fn contained<T>(
        &mut self,
        about: Option<Token>,
        run: impl FnOnce(&mut LoopState) -> T,
    ) -> Option<T> {
        catch(|| run(self)).map_err(|panic| self.end_panicked(about, panic)).ok()
    }

    #[cold]
    fn end_panicked(&mut self, about: Option<Token>, panic: Caught) {
        if self.config.on_panic == OnPanic::Unwind {
            self.is_unwound = true;
            panic.resume();
        }
        self.note_panic(about, panic.text());
        if let Some(token) = about {
            self.abort(token, CloseReason::HandlerPanicked);
        }
    }

    /// Counts a panic and tells of it.
    pub(super) fn note_panic(&mut self, about: Option<Token>, what: &str) {
        if self.config.on_panic == OnPanic::Unwind {
            self.is_unwound = true;
            // A layer's, which became an error of its stream.
            Caught::again(what);
        }
        self.stats.panics += 1;
        self.charge(PANIC);
        let connection = about.map(|token| token.to_string());
        log::error!(connection, event = "handler_panicked"; "a handler panicked: {what}");
    }
}
