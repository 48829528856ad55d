//! Why a request is refused.

use std::fmt;

use super::status::Status;

/// One list for the variants, their names, their status and their sentence.
macro_rules! http_errors {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $status:ident, $text:literal;)+) => {
        /// A request that breaks the rules of HTTP/1.1, or a limit. The connection cannot be used
        /// further: nobody knows where the next request would begin.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum HttpError {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl HttpError {
            /// Every error there is.
            pub const ALL: &'static [HttpError] = &[$(HttpError::$variant),+];

            /// A name that stays the same from version to version.
            pub const fn name(self) -> &'static str {
                match self {
                    $(HttpError::$variant => $name,)+
                }
            }

            /// The status to answer with.
            pub const fn status(self) -> Status {
                match self {
                    $(HttpError::$variant => Status::$status,)+
                }
            }

            /// What is wrong, for who sent it.
            pub const fn text(self) -> &'static str {
                match self {
                    $(HttpError::$variant => $text,)+
                }
            }
        }
    };
}

http_errors! {
    /// What should be a method is no token: this is no HTTP.
    BadMethod = "bad_method", BAD_REQUEST, "the request does not begin with a method";
    /// The request begins as a connection of TLS does, of which there is none here.
    Tls = "tls", BAD_REQUEST, "this port has no TLS";
    /// A character that may not stand in a target, or a form that the method does not have.
    BadTarget = "bad_target", BAD_REQUEST, "the target is malformed";
    /// The request line does not end with a version.
    BadVersion = "bad_version", BAD_REQUEST, "the request line is malformed";
    /// A version of another major number than 1.
    UnsupportedVersion = "unsupported_version", VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1 are spoken here";
    /// A line ended by a line feed without a carriage return.
    BareLineFeed = "bare_line_feed", BAD_REQUEST, "a line ends without a carriage return";
    /// A line that continues the one before (obs-fold, RFC 9112, 5.2).
    FoldedHeader = "folded_header", BAD_REQUEST, "a header is folded over two lines";
    /// A header's name is empty, no token, or has a space before its colon.
    BadHeaderName = "bad_header_name", BAD_REQUEST, "a header's name is malformed";
    /// A header's value has a control character.
    BadHeaderValue = "bad_header_value", BAD_REQUEST, "a header's value is malformed";
    /// The request line is longer than [`HeadLimits::request_line`](super::HeadLimits::request_line).
    TargetTooLong = "target_too_long", URI_TOO_LONG, "the request line is longer than the limit";
    /// The head is longer than [`HeadLimits::head`](super::HeadLimits::head).
    HeadTooLong = "head_too_long", HEADERS_TOO_LARGE, "the head is longer than the limit";
    /// There are more headers than [`HeadLimits::headers`](super::HeadLimits::headers).
    TooManyHeaders = "too_many_headers", HEADERS_TOO_LARGE, "there are more headers than the limit";
    /// HTTP/1.1 without a `Host`.
    MissingHost = "missing_host", BAD_REQUEST, "there is no Host";
    /// More than one `Host`.
    DuplicateHost = "duplicate_host", BAD_REQUEST, "there is more than one Host";
    /// A `Host` that is neither empty nor a host with or without a port.
    BadHost = "bad_host", BAD_REQUEST, "the Host is malformed";
    /// A `Content-Length` that is no decimal number, or none that fits 64 bits.
    BadContentLength = "bad_content_length", BAD_REQUEST, "the Content-Length is no number";
    /// More than one `Content-Length`, equal or not.
    DuplicateContentLength = "duplicate_content_length", BAD_REQUEST, "there is more than one Content-Length";
    /// `Content-Length` and `Transfer-Encoding` in one request.
    LengthAndEncoding = "length_and_encoding", BAD_REQUEST, "there are both Content-Length and Transfer-Encoding";
    /// `Transfer-Encoding` in HTTP/1.0, which has none.
    EncodingInOldVersion = "encoding_in_old_version", BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding";
    /// A `Transfer-Encoding` in which `chunked` is not the last, or stands twice, or which is empty.
    BadTransferEncoding = "bad_transfer_encoding", BAD_REQUEST, "the Transfer-Encoding does not end with chunked";
    /// A `Transfer-Encoding` other than `chunked`.
    UnsupportedEncoding = "unsupported_encoding", NOT_IMPLEMENTED, "no Transfer-Encoding but chunked is understood";
    /// An `Expect` other than `100-continue`.
    UnsupportedExpectation = "unsupported_expectation", EXPECTATION_FAILED, "no expectation but 100-continue can be met";
    /// A body longer than its limit.
    BodyTooLarge = "body_too_large", CONTENT_TOO_LARGE, "the body is larger than the limit";
    /// A chunk's size is no hexadecimal number of at most 16 digits, or its line too long.
    BadChunkSize = "bad_chunk_size", BAD_REQUEST, "the size of a chunk is malformed";
    /// A chunk is not followed by the end of a line.
    BadChunkEnd = "bad_chunk_end", BAD_REQUEST, "a chunk is longer than its size";
    /// Extensions of chunks with control characters, or more of them than the limit.
    BadChunkExtension = "bad_chunk_extension", BAD_REQUEST, "the extension of a chunk is malformed or too long";
    /// A trailer field that is malformed.
    BadTrailer = "bad_trailer", BAD_REQUEST, "a trailer field is malformed";
    /// Trailer fields longer than the limit.
    TrailersTooLong = "trailers_too_long", HEADERS_TOO_LARGE, "the trailer fields are longer than the limit";
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for HttpError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_a_name_of_its_own_and_a_status_of_an_error() {
        for (index, error) in HttpError::ALL.iter().enumerate() {
            assert!(error.status().code() >= 400, "{error:?}");
            let is_same = |other: &HttpError| other.name() == error.name();
            assert_eq!(HttpError::ALL.iter().position(is_same), Some(index));
        }
    }
}
