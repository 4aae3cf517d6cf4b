//! The head of an answer.

use std::mem::MaybeUninit;

use bytes::{Buf as _, BytesMut};
use httparse::{Header, ParserConfig, Response, Status};

use super::Unclear;
use super::lenient::hides_framing;
use crate::domain::deliveries::answer::{Answer, Directive};
use crate::domain::deliveries::content_type::ContentType;

/// The head of a final answer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::transport) struct Head {
    /// The status and the headers that count. The body is still to come.
    pub(in crate::transport) answer: Answer,
    /// What the body is. It does not count, so that both transports take it from here.
    pub(in crate::transport) content_type: Option<ContentType>,
    pub(in crate::transport) framing: Framing,
    /// `true` if another exchange may follow on the connection, once the whole body is read.
    pub(in crate::transport) keeps: bool,
    /// `true` if no other parser could read the head differently, and the length is the only header
    /// that counts.
    pub(in crate::transport) plain: bool,
}

/// How the end of a body is determined (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Framing {
    /// There is no body.
    Empty,
    /// The body's length in bytes.
    Length(u64),
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

/// Finds the head of the final answer in the received bytes, skipping interim answers.
#[derive(Debug, Default)]
pub(in crate::transport) struct HeadReader {
    /// The number of received bytes already searched for the end of the head.
    seen: usize,
    /// The status of a head whose end is still to come.
    status: Option<u16>,
}

impl HeadReader {
    /// Takes the head out of the received bytes. Returns `None` if more bytes are needed.
    pub(in crate::transport) fn take(
        &mut self,
        received: &mut BytesMut,
    ) -> Result<Option<Head>, Unclear> {
        loop {
            if skip_empty_lines(received) {
                self.seen = 0;
            }
            if !self.is_worth_reading(received) {
                return Ok(None);
            }
            match parse_begun(received)? {
                Parsed::Partial(status) => {
                    self.seen = received.len();
                    self.status = status.filter(|status| *status >= 200);
                    return Ok(None);
                }
                Parsed::Interim(length) => {
                    received.advance(length);
                    *self = Self::default();
                }
                Parsed::Final(head, length) => {
                    received.advance(length);
                    *self = Self::default();
                    return Ok(Some(head));
                }
            }
        }
    }

    /// Returns the status of a final answer whose head is still incomplete.
    pub(in crate::transport) fn status(&self) -> Option<u16> {
        self.status
    }

    /// Returns `false` if parsing the head again would bring nothing new.
    ///
    /// So a head that arrives byte by byte costs time linear in its length, not quadratic.
    pub(super) fn is_worth_reading(&self, received: &[u8]) -> bool {
        let (old, new) = received.split_at(self.seen.min(received.len()));
        if new.is_empty() {
            return false;
        }
        let status_line_is_new = old.len() < MAX_STATUS_LINE_BYTES && !old.contains(&b'\n');
        let begin = old.len().saturating_sub(2);
        let tail = received.get(begin..).unwrap_or_default();
        status_line_is_new || has_end(tail) || received.len() > MAX_HEAD_BYTES
    }
}

impl Head {
    /// Returns the head at the beginning of `bytes` and its length, if it is complete and final.
    #[cfg(feature = "awc")]
    pub(in crate::transport) fn at(bytes: &[u8]) -> Option<(Self, usize)> {
        match parse(bytes) {
            Ok(Parsed::Final(head, length)) => Some((head, length)),
            Ok(Parsed::Partial(_) | Parsed::Interim(_)) | Err(_) => None,
        }
    }
}

enum Parsed {
    /// The end is still to come. The status is known once its line is complete.
    Partial(Option<u16>),
    /// An interim answer and its length in bytes (RFC 9110 §15.2).
    Interim(usize),
    Final(Head, usize),
}

/// Parses a head that may be incomplete.
///
/// Errors are reported only once the head is complete, so that the result does not depend on how
/// the bytes were split. The status line is the exception: if it is invalid, the rest is not worth
/// waiting for.
fn parse_begun(bytes: &[u8]) -> Result<Parsed, Unclear> {
    let parsed = parse(bytes);
    let status = match &parsed {
        Ok(Parsed::Partial(status)) | Err(Unclear { status }) => *status,
        Ok(Parsed::Final(head, length)) if *length > MAX_HEAD_BYTES => Some(head.answer.status),
        Ok(Parsed::Interim(length)) if *length > MAX_HEAD_BYTES => None,
        Ok(Parsed::Interim(_) | Parsed::Final(..)) => return parsed,
    };
    if bytes.len() > MAX_HEAD_BYTES || has_end(bytes) {
        return parsed.and(Err(Unclear { status }));
    }
    let line = bytes.split_inclusive(|byte| *byte == b'\n').next();
    parse(line.unwrap_or_default()).map(|_| Parsed::Partial(status))
}

/// Skips empty lines before an answer, and returns `true` if there were any.
///
/// Some servers send one line end too many after an answer.
fn skip_empty_lines(received: &mut BytesMut) -> bool {
    let before = received.len();
    loop {
        match received.get(..received.len().min(2)) {
            Some(b"\r\n") => received.advance(2),
            Some([b'\n', ..]) => received.advance(1),
            _ => return received.len() < before,
        }
    }
}

fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|end| end == b"\n\r\n")
}

fn parse(bytes: &[u8]) -> Result<Parsed, Unclear> {
    let mut config = ParserConfig::default();
    if let Ok(parsed) = parse_with(&config, bytes, Grammar::Strict) {
        return parsed;
    }
    config
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    if let Ok(parsed) = parse_with(&config, bytes, Grammar::Folded) {
        return parsed;
    }
    config.ignore_invalid_headers_in_responses(true);
    // The parser skips lines with control characters, except NUL.
    let without_nul: Vec<u8> = bytes.iter().map(|byte| (*byte).max(1)).collect();
    parse_with(&config, &without_nul, Grammar::Lenient).unwrap_or_else(Err)
}

/// The grammar that a head is parsed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grammar {
    /// As specified.
    Strict,
    /// Folded headers and extra spaces before the status are allowed.
    Folded,
    /// Lines that are not headers are left out, and the connection is closed after the answer.
    Lenient,
}

/// Parses a head by one grammar. The outer error means that the head does not match it.
fn parse_with(
    config: &ParserConfig,
    bytes: &[u8],
    grammar: Grammar,
) -> Result<Result<Parsed, Unclear>, Unclear> {
    let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut head = Response::new(&mut []);
    let parsed = config.parse_response_with_uninit_headers(&mut head, bytes, &mut room);
    let status = head.code;
    match parsed {
        Err(_) => Err(Unclear { status }),
        Ok(Status::Partial) => Ok(Ok(Parsed::Partial(status))),
        Ok(Status::Complete(length)) => {
            let text = bytes.get(..length).unwrap_or_default();
            if grammar != Grammar::Strict && hides_framing(text, head.headers) {
                return Ok(Err(Unclear { status }));
            }
            Ok(judge(&head, length, grammar))
        }
    }
}

fn judge(head: &Response<'_, '_>, length: usize, grammar: Grammar) -> Result<Parsed, Unclear> {
    let unclear = Unclear { status: head.code };
    let status = head.code.filter(|status| *status >= 100).ok_or(unclear)?;
    if status < 200 && status != 101 {
        return Ok(Parsed::Interim(length));
    }
    let old = head.version == Some(0);
    let said = Said::by(head.headers, status).ok_or(unclear)?;
    let framing = said.framing(status, old).ok_or(unclear)?;
    let persists = match said.persistence {
        Persistence::Unsaid => !old,
        Persistence::KeepAlive => true,
        Persistence::Close => false,
    };
    let clear = !said.is_contradictory(framing, old) && grammar != Grammar::Lenient;
    Ok(Parsed::Final(
        Head {
            answer: said.answer,
            content_type: said.content_type.known(),
            framing,
            keeps: persists && clear && framing != Framing::UntilClose,
            plain: said.plain && !old && grammar == Grammar::Strict,
        },
        length,
    ))
}

/// The content of an answer's headers, as far as it counts.
struct Said {
    answer: Answer,
    content_type: SaidType,
    length: Option<u64>,
    /// `true` if the same length was given more than once.
    repeated: bool,
    /// The transfer codings, in order, in lower case.
    codings: Option<Vec<u8>>,
    persistence: Persistence,
    plain: bool,
    /// `true` if there was a `Location`.
    located: bool,
}

/// What an answer says about the type of its body.
#[derive(Debug, PartialEq, Eq)]
enum SaidType {
    Unsaid,
    Said(ContentType),
    /// It is no type, or not a usual one, or there are two, and it is not known which one counts.
    Unknown,
}

impl SaidType {
    fn known(self) -> Option<ContentType> {
        match self {
            Self::Said(content_type) => Some(content_type),
            Self::Unsaid | Self::Unknown => None,
        }
    }
}

/// What an answer says about its connection (RFC 9112 §9.3). `close` takes precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Persistence {
    Unsaid,
    KeepAlive,
    Close,
}

impl Said {
    /// Returns `None` if the framing headers are malformed or contradict each other.
    fn by(headers: &[Header<'_>], status: u16) -> Option<Self> {
        let mut said = Self {
            answer: Answer::new(status),
            content_type: SaidType::Unsaid,
            length: None,
            repeated: false,
            codings: None,
            persistence: Persistence::Unsaid,
            plain: true,
            located: false,
        };
        for header in headers {
            said.take(header)?;
        }
        if said.answer.retry_after.is_some() {
            // A date in `Retry-After` is measured from the answer's own `Date`.
            let is_date = |header: &&Header<'_>| header.name.eq_ignore_ascii_case("date");
            for header in headers.iter().filter(is_date) {
                join(&mut said.answer.date, header.value);
            }
        }
        Some(said)
    }

    fn take(&mut self, header: &Header<'_>) -> Option<()> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // The length alone rules out most headers.
        match header.name.len() {
            14 if is("content-length") => {
                let (length, alone) = parse_length(header.value)?;
                let before = self.length.replace(length);
                if before.is_some_and(|before| before != length) {
                    return None;
                }
                if alone && before.is_none() {
                    return Some(());
                }
                self.repeated = true;
            }
            17 if is("transfer-encoding") => {
                append(&mut self.codings, header.value);
            }
            10 if is("connection") => {
                if self.take_connection(header.value) {
                    return Some(());
                }
            }
            12 if is("content-type") => {
                self.take_content_type(header.value);
                return Some(());
            }
            // awc reads these headers differently.
            4 if is("host") => {}
            7 if is("upgrade") => {}
            8 if is("location") => self.take_location(header.value),
            11 if is("retry-after") => join(&mut self.answer.retry_after, header.value),
            16 if is("webhook-delivery") && self.answer.directive.is_none() => {
                self.answer.directive = Directive::parse(header.value);
            }
            _ => return Some(()),
        }
        self.plain = false;
        Some(())
    }

    fn take_location(&mut self, value: &[u8]) {
        let location = String::from_utf8(unfolded(value)).ok();
        let same = self.answer.location == location;
        // With two different values, it is not known which one counts.
        self.answer.location = location.filter(|_| same || !self.located);
        self.located = true;
    }

    fn take_content_type(&mut self, value: &[u8]) {
        let found = ContentType::of_answer(self.answer.status, value);
        let found = found.map_or(SaidType::Unknown, SaidType::Said);
        if self.content_type == SaidType::Unsaid {
            self.content_type = found;
        } else if self.content_type != found {
            self.content_type = SaidType::Unknown;
        }
    }

    /// Returns `true` if the header is exactly `keep-alive`.
    fn take_connection(&mut self, value: &[u8]) -> bool {
        for option in value.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            // Offers to upgrade are ignored (RFC 9110 §7.8).
            if is(b"close") {
                self.persistence = Persistence::Close;
            } else if is(b"keep-alive") && self.persistence == Persistence::Unsaid {
                self.persistence = Persistence::KeepAlive;
            }
        }
        value.eq_ignore_ascii_case(b"keep-alive")
    }

    /// Returns `None` if the framing is ambiguous.
    fn framing(&self, status: u16, old: bool) -> Option<Framing> {
        if status == 101 {
            return Some(Framing::UntilClose);
        }
        if matches!(status, 204 | 304) {
            return Some(Framing::Empty);
        }
        let Some(codings) = &self.codings else {
            return Some(match self.length {
                None => Framing::UntilClose,
                Some(0) => Framing::Empty,
                Some(length) => Framing::Length(length),
            });
        };
        let chunked = |coding: &&[u8]| coding.trim_ascii() == b"chunked";
        let count = codings.split(|byte| *byte == b',').filter(chunked).count();
        let last = codings.rsplit(|byte| *byte == b',').next();
        match count {
            // In HTTP/1.0 a transfer coding is faulty framing (RFC 9112 §6.1).
            2.. => None,
            1 if !old && last.is_some_and(|last| chunked(&last)) => Some(Framing::Chunked),
            _ => Some(Framing::UntilClose),
        }
    }

    /// Returns `true` if the headers announce a different body than the one read, so that bytes may
    /// follow it.
    fn is_contradictory(&self, framing: Framing, old: bool) -> bool {
        let both = self.length.is_some() && self.codings.is_some();
        let announced = self.codings.is_some() || self.length.is_some_and(|length| length > 0);
        self.repeated
            || both
            || (framing == Framing::Empty && announced)
            || (old && self.codings.is_some())
    }
}

/// Appends a value to a header: repeated lines form one list (RFC 9110 §5.3).
///
/// A value that is not UTF-8 is replaced by the empty string, because it could not be read anyway.
fn join(list: &mut Option<String>, value: &[u8]) {
    let text = String::from_utf8(unfolded(value)).unwrap_or_default();
    *list = Some(match list.take() {
        None => text,
        Some(all) => (all + ", " + &text).trim().to_owned(),
    });
}

/// Appends to a list in lower case (RFC 9110 §5.3).
fn append(list: &mut Option<Vec<u8>>, more: &[u8]) {
    let list = list.get_or_insert_default();
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend(more.iter().map(u8::to_ascii_lowercase));
}

/// Returns a length, and `true` if it is given only once.
///
/// The same length several times is still clear (RFC 9110 §8.6). Only digits are allowed: no sign
/// and no fold.
fn parse_length(value: &[u8]) -> Option<(u64, bool)> {
    let mut lengths = value.split(|byte| *byte == b',').map(|text| {
        let text = text.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
        text.parse::<u64>().ok()
    });
    let first = lengths.next()??;
    let mut alone = true;
    for length in lengths {
        alone = false;
        if length != Some(first) {
            return None;
        }
    }
    Some((first, alone))
}

/// Returns a value with its line breaks replaced by spaces (RFC 9112 §5.2).
fn unfolded(value: &[u8]) -> Vec<u8> {
    let mut flat = Vec::with_capacity(value.len());
    for line in value.split(|byte| *byte == b'\n') {
        if !flat.is_empty() {
            flat.push(b' ');
        }
        flat.extend_from_slice(line.trim_ascii());
    }
    flat
}

/// The maximum number of headers of an answer.
pub(in crate::transport) const MAX_HEADERS: usize = 96;

/// The longest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 128 * 1_024;

/// Longer lines are not status lines.
const MAX_STATUS_LINE_BYTES: usize = 8 * 1_024;
