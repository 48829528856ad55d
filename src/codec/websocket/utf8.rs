//! UTF-8 that arrives in pieces.

/// Checks text piece by piece, and finds the first byte that cannot be right as soon as it is there.
///
/// What it keeps is the beginning of a character that a piece ended in: at most three bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    begun: [u8; 3],
    len: u8,
}

impl Utf8 {
    /// Whether the text may still become UTF-8 with this piece behind what came before.
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        let Some(piece) = self.finish_character(piece) else { return false };
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) => error.error_len().is_none() && self.begin(&piece[error.valid_up_to()..]),
        }
    }

    /// Whether the text may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.len == 0
    }

    /// Completes the character that the piece before ended in. Returns the rest of this one, or
    /// `None` when it does not go on as the character must.
    fn finish_character<'a>(&mut self, piece: &'a [u8]) -> Option<&'a [u8]> {
        let begun = usize::from(std::mem::take(&mut self.len));
        if begun == 0 {
            return Some(piece);
        }
        let mut character = [0; 4];
        let more = piece.len().min(character.len() - begun);
        character[..begun].copy_from_slice(&self.begun[..begun]);
        character[begun..begun + more].copy_from_slice(&piece[..more]);
        let known = &character[..begun + more];
        match std::str::from_utf8(known) {
            Ok(_) => Some(&piece[more..]),
            // It is complete; what follows it is looked at with the rest.
            Err(error) if error.valid_up_to() > 0 => Some(&piece[error.valid_up_to() - begun..]),
            Err(error) if error.error_len().is_some() => None,
            Err(_) => self.begin(known).then_some(&[]),
        }
    }

    /// Keeps the beginning of a character. There are at most three bytes of one.
    fn begin(&mut self, character: &[u8]) -> bool {
        let Some(place) = self.begun.get_mut(..character.len()) else { return false };
        place.copy_from_slice(character);
        self.len = character.len() as u8;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Position of the first byte that a checker refuses, fed byte by byte.
    fn first_refused(bytes: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        bytes.iter().position(|byte| !utf8.push(&[*byte]))
    }

    #[test]
    fn the_first_byte_that_cannot_be_right_is_refused() {
        // Autobahn's 6.3 and 6.4: valid text, then a surrogate, or a character above U+10FFFF.
        assert_eq!(first_refused("κόσμε".as_bytes()), None);
        assert_eq!(first_refused(b"\xce\xba\xed\xa0\x80"), Some(3));
        assert_eq!(first_refused(b"a\xf4\x90\x80\x80"), Some(2));
        assert_eq!(first_refused(b"\xc0\xaf"), Some(0));
        assert_eq!(first_refused(b"\xf5"), Some(0));
    }

    #[test]
    fn text_that_ends_within_a_character_is_incomplete() {
        let mut utf8 = Utf8::default();
        assert!(utf8.push(b"\xf0\x9f") && !utf8.is_complete());
        assert!(utf8.push(b"\x98") && !utf8.is_complete());
        assert!(utf8.push(b"\x80") && utf8.is_complete());
    }

    proptest! {
        #[test]
        fn every_cut_is_judged_as_the_whole(
            text in prop_oneof![
                "\\PC{0,12}".prop_map(String::into_bytes),
                prop::collection::vec(prop::sample::select(&[b'a', 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xed, 0xf4][..]), 0..12),
            ],
            first in 0..12_usize, second in 0..12_usize,
        ) {
            let (first, second) = (first.min(second).min(text.len()), second.max(first).min(text.len()));
            let mut utf8 = Utf8::default();
            let pieces = [&text[..first], &text[first..second], &text[second..]];
            let accepted = pieces.iter().all(|piece| utf8.push(piece)) && utf8.is_complete();
            prop_assert_eq!(accepted, std::str::from_utf8(&text).is_ok());
        }
    }
}
