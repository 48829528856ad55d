//! A panic that was caught: what it says, and how it goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Payloads whose destructors panic, one thrown by the other, that are dropped before the last is
/// leaked: a destructor that throws its like for ever must not hold the loop.
const NESTED_MAX: u32 = 8;

/// A panic that goes on no further, and what it carries; nothing once it goes on.
#[derive(Debug)]
pub(crate) struct Caught(Option<Box<dyn Any + Send>>);

/// Runs `f`. What it had under way is as the panic left it: the caller gives that up, or knows that
/// nothing was.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Caught> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| Caught(Some(payload)))
}

impl Caught {
    /// What it says, as far as that is text.
    pub(crate) fn text(&self) -> &str {
        let text = self.0.as_deref().and_then(|payload| {
            let text = payload.downcast_ref::<&str>().copied();
            text.or_else(|| payload.downcast_ref().map(String::as_str))
        });
        text.unwrap_or("it does not say why")
    }

    /// Lets a panic of which only the text is left unwind further; it was printed already.
    pub(crate) fn again(text: &str) -> ! {
        resume_unwind(Box::new(text.to_owned()))
    }

    /// Lets it unwind further, as if it had not been caught.
    pub(crate) fn resume(mut self) -> ! {
        resume_unwind(self.0.take().unwrap_or_else(|| Box::new(())))
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        // The destructor is code of whoever panicked, too; what it throws has a destructor as well.
        for _ in 0..NESTED_MAX {
            let payload = self.0.take();
            self.0 = catch_unwind(AssertUnwindSafe(|| drop(payload))).err();
        }
        std::mem::forget(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Throws as many of its like as it says, one when the other is dropped.
    struct ThrowsWhenDropped(u32);

    impl Drop for ThrowsWhenDropped {
        fn drop(&mut self) {
            if self.0 > 0 {
                resume_unwind(Box::new(Self(self.0 - 1)));
            }
        }
    }

    #[test]
    fn panic_says_what_it_is_about_if_that_is_text() {
        let text = |f: fn()| catch(f).unwrap_err().text().to_owned();
        assert_eq!(text(|| panic!("plain")), "plain");
        assert_eq!(text(|| panic!("{} and {}", 1, 2)), "1 and 2");
        assert_eq!(text(|| resume_unwind(Box::new(3))), "it does not say why");
    }

    #[test]
    fn payload_cannot_panic_again() {
        for nested in [1, NESTED_MAX - 1] {
            assert!(catch(|| resume_unwind(Box::new(ThrowsWhenDropped(nested)))).is_err());
        }
    }

    struct Counted<'a>(&'a AtomicU32);

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_a_panic_carries_is_dropped_once_so_that_peers_cannot_fill_the_memory_by_panics() {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        for count in 1..=3 {
            drop(catch(|| resume_unwind(Box::new(Counted(&DROPS)))));
            assert_eq!(DROPS.load(Ordering::Relaxed), count);
        }
        let panic = catch(|| resume_unwind(Box::new(Counted(&DROPS)))).unwrap_err();
        drop(catch(|| panic.resume()));
        assert_eq!(DROPS.load(Ordering::Relaxed), 4, "also of one that went on");
    }
}
