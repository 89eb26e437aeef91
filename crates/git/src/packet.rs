//! The packets of the protocol: four hexadecimal digits with the length, then the content.

use crate::refusal::Refused;

/// The length of a packet's header.
pub const HEADER: usize = 4;
/// The longest packet.
pub const MAX_PACKET: usize = 65_520;

/// What a packet's header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Content of this length.
    Content(usize),
    /// The end of an answer.
    Flush,
    /// The end of a section.
    Delimiter,
    /// The end of all answers.
    ResponseEnd,
}

/// Reads a packet's header.
pub fn next(header: [u8; HEADER]) -> Result<Next, Refused> {
    let invalid =
        || Refused::protocol("the server's answer is not that of a Git server: check the address");
    let digits = std::str::from_utf8(&header).map_err(|_| invalid())?;
    if !header.iter().all(u8::is_ascii_hexdigit) {
        return Err(invalid());
    }
    match usize::from_str_radix(digits, 16).map_err(|_| invalid())? {
        0 => Ok(Next::Flush),
        1 => Ok(Next::Delimiter),
        2 => Ok(Next::ResponseEnd),
        length if (HEADER..=MAX_PACKET).contains(&length) => Ok(Next::Content(length - HEADER)),
        _ => Err(invalid()),
    }
}

/// A packet of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Content(&'a [u8]),
    Flush,
    Delimiter,
    ResponseEnd,
}

/// The packets of an answer.
pub(crate) struct Packets<'a>(pub(crate) &'a [u8]);

impl<'a> Packets<'a> {
    /// The next packet; None at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Packet<'a>>, Refused> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let cut_off = || Refused::protocol("the server's answer is cut off");
        let (header, rest) = self.0.split_first_chunk::<HEADER>().ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(Some(match next(*header)? {
            Next::Flush => Packet::Flush,
            Next::Delimiter => Packet::Delimiter,
            Next::ResponseEnd => Packet::ResponseEnd,
            Next::Content(length) => {
                let (content, rest) = rest.split_at_checked(length).ok_or_else(cut_off)?;
                self.0 = rest;
                Packet::Content(content)
            }
        }))
    }

    /// The next line without its line feed; None for any other packet and at the end.
    pub(crate) fn line(&mut self) -> Result<Option<&'a [u8]>, Refused> {
        match self.next()? {
            Some(Packet::Content(line)) if line.starts_with(b"ERR ") => Err(refused(line)),
            Some(Packet::Content(line)) => Ok(Some(line.strip_suffix(b"\n").unwrap_or(line))),
            _ => Ok(None),
        }
    }
}

/// An error of the server. Its text is not quoted: a server could repeat credentials in it.
pub(crate) fn refused(text: &[u8]) -> Refused {
    use crate::refusal::Reason;
    let contains = |part: &[u8]| text.windows(part.len()).any(|found| found == part);
    if contains(b"not our ref") || contains(b"unadvertised object") {
        return Refused::new(
            Reason::RevisionNotFound,
            "the server does not have this commit, or does not give it: it may be no longer in any branch",
        );
    }
    Refused::new(
        Reason::GitRefused,
        "the Git server answered with an error. Try `git ls-remote` with the same address and credentials",
    )
}

/// Appends a packet with this text.
pub(crate) fn push(request: &mut Vec<u8>, text: &str) {
    request.extend_from_slice(format!("{:04x}", text.len() + HEADER).as_bytes());
    request.extend_from_slice(text.as_bytes());
}

pub(crate) const FLUSH: &[u8] = b"0000";
pub(crate) const DELIMITER: &[u8] = b"0001";
