//! `status --watch`: reads the cluster again and again, and shows what changes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::names;
use crate::{
    cli::{StatusArgs, StatusOutput},
    exit::Exit,
    failure::Failure,
    output::{print_if_read, unprintable},
    report::{
        Document,
        changes::{changed_items, changed_lines, has_changed},
        format::Output,
        text,
        view::View,
    },
    screen::Screen,
    session::Session,
};

/// The shortest pause between two reads.
const SHORTEST: Duration = Duration::from_secs(2);

/// The longest pause after errors.
const LONGEST: Duration = Duration::from_mins(1);

/// The pause is so many times as long as the last read took, so that the reads of a large cluster are a tenth of the time.
const GENTLE: u32 = 9;

/// Shows the document, and then what `look` reads, until a signal comes or nobody reads stdout. The exit code is that of the last
/// read.
pub(super) async fn watch(
    session: &Session,
    args: &StatusArgs,
    (mut document, mut exit): (Document, Exit),
    look: impl AsyncFn() -> Result<(Document, Exit), Failure>,
) -> Result<Exit, Failure> {
    let shows = Shows { session, args };
    let mut is_read = shows.first(&document)?;
    let mut failures = 0;
    let mut took = Duration::ZERO;
    while is_read {
        let pausing = session.unless_stopped(sleep(pause(took, failures))).await;
        if pausing.is_err() {
            break;
        }
        let start = Instant::now();
        match look().await {
            Ok((next, code)) => {
                (took, failures) = (start.elapsed(), 0);
                is_read = shows.next(&document, &next)?;
                (document, exit) = (next, code);
            }
            Err(failure) if failure.exit == Exit::Stopped => break,
            Err(failure) => {
                failures += 1;
                session.say(&format!(
                    "the cluster could not be read: {}",
                    failure.message
                ));
            }
        }
    }
    session.world.record.files().write(&document)?;
    Ok(exit)
}

/// The pause before the next read.
fn pause(took: Duration, failures: u32) -> Duration {
    let gentle = took.saturating_mul(GENTLE).max(SHORTEST);
    let backoff = SHORTEST.saturating_mul(2_u32.saturating_pow(failures));
    match failures {
        0 => gentle,
        _ => backoff.min(LONGEST).max(gentle),
    }
}

/// Shows documents in the format that was asked for. Returns false if nobody reads them.
struct Shows<'a> {
    session: &'a Session,
    args: &'a StatusArgs,
}

impl Shows<'_> {
    fn first(&self, document: &Document) -> Result<bool, Failure> {
        match self.args.output {
            Some(StatusOutput::Json | StatusOutput::Yaml) => self.whole(document),
            Some(StatusOutput::Name) => print_if_read(&names(document.items.iter())),
            None | Some(StatusOutput::Table | StatusOutput::Wide) => match self.height() {
                Some(height) => {
                    print_if_read("\u{1b}[2J")?;
                    self.paint(document, height)
                }
                None => print_if_read(&text::render(document, &self.view())),
            },
        }
    }

    fn next(&self, before: &Document, document: &Document) -> Result<bool, Failure> {
        let changed = has_changed(before, document);
        match self.args.output {
            Some(StatusOutput::Json | StatusOutput::Yaml) if changed => self.whole(document),
            Some(StatusOutput::Json | StatusOutput::Yaml) => Ok(true),
            Some(StatusOutput::Name) => {
                let changed = changed_items(before, document);
                print_if_read(&names(changed.into_iter()))
            }
            None | Some(StatusOutput::Table | StatusOutput::Wide) => match self.height() {
                Some(height) => self.paint(document, height),
                None => print_if_read(&changed_lines(before, document, &self.view())),
            },
        }
    }

    /// The whole document: a line of JSON, or a document of YAML.
    fn whole(&self, document: &Document) -> Result<bool, Failure> {
        let text = if self.args.output == Some(StatusOutput::Yaml) {
            let text = Output::Yaml.render(document, |_| String::new());
            text.map(|text| format!("---\n{text}"))
        } else {
            let text = serde_json::to_string(document);
            text.map(|text| text + "\n").map_err(|why| why.to_string())
        };
        print_if_read(&text.map_err(|why| unprintable(&why))?)
    }

    fn screen(&self) -> Screen {
        let session = self.session;
        Screen::of_stdout(session.logging.color, &session.world.environment)
    }

    fn view(&self) -> View {
        let wide = self.args.output == Some(StatusOutput::Wide);
        let output = if wide { Output::Wide } else { Output::Table };
        self.args.table.view(&View::of(Some(output), self.screen()))
    }

    /// The height of the terminal, if there is one that can be painted again.
    fn height(&self) -> Option<usize> {
        let is_dumb = self.session.world.environment.get("TERM");
        self.screen()
            .height
            .filter(|_| is_dumb.is_none_or(|name| name != "dumb"))
    }

    fn paint(&self, document: &Document, height: usize) -> Result<bool, Failure> {
        let at = document.run.finished.strftime("%Y-%m-%d %H:%M:%SZ");
        let heading = format!("{at}; Ctrl-C ends the watch");
        let text = text::render(document, &self.view());
        print_if_read(&painted(&heading, &text, height))
    }
}

/// The sequences that replace what a terminal of this height shows. Long lines are cut off by the terminal, because a line that takes
/// two would move the others.
fn painted(heading: &str, text: &str, height: usize) -> String {
    let room = height.saturating_sub(3);
    let lines: Vec<&str> = text.lines().collect();
    let mut shown: Vec<String> = vec![heading.to_owned(), String::new()];
    if lines.len() > room {
        let fitting = room.saturating_sub(1);
        shown.extend(lines.iter().take(fitting).map(|line| (*line).to_owned()));
        shown.push(format!("… and {} more lines", lines.len() - fitting));
    } else {
        shown.extend(lines.iter().map(|line| (*line).to_owned()));
    }
    let shown = shown.join("\u{1b}[K\n");
    format!("\u{1b}[?7l\u{1b}[H{shown}\u{1b}[K\n\u{1b}[J\u{1b}[?7h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_clusters_are_read_less_often() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(Duration::from_millis(10), 0), seconds(2));
        assert_eq!(pause(seconds(3), 0), seconds(27));
        assert_eq!(pause(seconds(3), 1), seconds(27));
        assert_eq!(pause(Duration::ZERO, 1), seconds(4));
        assert_eq!(pause(Duration::ZERO, 3), seconds(16));
        assert_eq!(pause(Duration::ZERO, 40), seconds(60));
    }

    #[test]
    fn painted_text_fits_the_height() {
        let text = "1\n2\n3\n4\n5\n";
        let visible = |height| {
            let painted = painted("now", text, height);
            let plain = ["[?7l", "[H", "[K", "[J", "[?7h"]
                .iter()
                .fold(painted, |text, sequence| {
                    text.replace(&format!("\u{1b}{sequence}"), "")
                });
            plain.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(visible(8), ["now", "", "1", "2", "3", "4", "5"]);
        assert_eq!(visible(7), ["now", "", "1", "2", "3", "… and 2 more lines"]);
    }
}
