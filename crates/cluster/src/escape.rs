//! Escapes text from outside for a terminal: messages of servers and credential plugins, and names in files and objects.

/// Appends a character, escaped if it changes the screen.
pub fn push(escaped: &mut String, c: char) {
    if changes_the_screen(c) {
        escaped.extend(c.escape_default());
    } else {
        escaped.push(c);
    }
}

/// True for C0 and C1 control characters, line and paragraph separators, and characters that are invisible or change the
/// direction of the text (Unicode UAX #9 and "Trojan Source", CVE-2021-42574).
pub fn changes_the_screen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}
