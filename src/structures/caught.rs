//! A panic that was caught: what it says, and how it goes on.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Its payload is never dropped: the destructor is code of whoever panicked, too, and nobody would catch
/// what that throws.
#[derive(Debug)]
pub(crate) struct Caught(ManuallyDrop<Box<dyn Any + Send>>);

/// Runs `f`. What it had under way is as the panic left it: the caller gives that up, or knows that
/// nothing was.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Caught> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| Caught(ManuallyDrop::new(payload)))
}

impl Caught {
    /// What it says, as far as that is text.
    pub(crate) fn text(&self) -> &str {
        let text = self.0.downcast_ref::<&str>().copied();
        text.or_else(|| self.0.downcast_ref().map(String::as_str)).unwrap_or("it does not say why")
    }

    /// Lets a panic of which only the text is left unwind further; it was printed already.
    pub(crate) fn again(text: &str) -> ! {
        resume_unwind(Box::new(text.to_owned()))
    }

    /// Lets it unwind further, as if it had not been caught.
    pub(crate) fn resume(self) -> ! {
        resume_unwind(ManuallyDrop::into_inner(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ThrowsWhenDropped;

    impl Drop for ThrowsWhenDropped {
        fn drop(&mut self) {
            panic!("the payload was dropped");
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
        assert!(catch(|| resume_unwind(Box::new(ThrowsWhenDropped))).is_err());
    }
}
