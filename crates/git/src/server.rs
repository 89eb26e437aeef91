//! What a server can do, and the requests to it.

use crate::{
    id::Id,
    objects::MAX_HISTORY,
    packet::{DELIMITER, FLUSH, Packets, push},
    refusal::{Reason, Refused},
};

/// A server, as its advertisement describes it.
pub struct Server {
    /// True if the server knows which hash is meant.
    names_format: bool,
    /// True if the server can leave out files.
    filters: bool,
}

/// What is read of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// The default branch.
    Head,
    /// A branch, a tag, or a whole name such as `refs/heads/main`.
    Named(String),
    Commit(Id),
}

impl Revision {
    /// Reads a revision as people write it. A text of 40 hexadecimal digits is a commit.
    pub fn of(text: &str) -> Self {
        match text.parse() {
            Ok(commit) => Self::Commit(commit),
            Err(()) if text.is_empty() || text == "HEAD" => Self::Head,
            Err(()) => Self::Named(text.to_owned()),
        }
    }

    /// The names that may be meant.
    fn candidates(&self) -> Vec<String> {
        match self {
            Self::Head => vec!["HEAD".to_owned()],
            Self::Named(name) if name.starts_with("refs/") => vec![name.clone()],
            Self::Named(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
            Self::Commit(_) => Vec::new(),
        }
    }
}

impl Server {
    /// Reads the advertisement: the answer to `GET URL/info/refs?service=git-upload-pack` with the header
    /// `Git-Protocol: version=2`, or the first answer of `git-upload-pack` over SSH.
    pub fn parse(answer: &[u8]) -> Result<Self, Refused> {
        let mut packets = Packets(answer);
        let mut line = packets.line()?;
        if line.is_some_and(|line| line.starts_with(b"# service=")) {
            // A flush follows.
            packets.line()?;
            line = packets.line()?;
        }
        if line != Some(b"version 2") {
            return Err(Refused::protocol(
                "the Git server does not support version 2 of the protocol, which Git has since 2018",
            ));
        }
        let mut server = Self {
            names_format: false,
            filters: false,
        };
        let mut fetches = false;
        while let Some(capability) = packets.line()? {
            let capability = String::from_utf8_lossy(capability);
            let (name, value) = capability.split_once('=').unwrap_or((&capability, ""));
            match name {
                "object-format" if value == "sha1" => server.names_format = true,
                "object-format" => {
                    let message = "the repository uses SHA-256, which is not supported";
                    return Err(Refused::new(Reason::ObjectFormat, message));
                }
                "fetch" => {
                    fetches = true;
                    server.filters = value.split(' ').any(|feature| feature == "filter");
                }
                _ => {}
            }
        }
        if !fetches {
            return Err(Refused::protocol("the Git server does not offer `fetch`"));
        }
        Ok(server)
    }

    /// The request for the names that a revision may mean.
    pub fn list(&self, revision: &Revision) -> Vec<u8> {
        let mut request = self.command("ls-refs");
        push(&mut request, "peel\n");
        push(&mut request, "symrefs\n");
        for name in revision.candidates() {
            push(&mut request, &format!("ref-prefix {name}\n"));
        }
        request.extend_from_slice(FLUSH);
        request
    }

    /// Finds the commit of a revision in the answer to [`Server::list`].
    pub fn find(&self, revision: &Revision, answer: &[u8]) -> Result<Id, Refused> {
        if let Revision::Commit(id) = revision {
            return Ok(*id);
        }
        let candidates = revision.candidates();
        let mut found: Vec<Id> = Vec::new();
        let mut packets = Packets(answer);
        while let Some(line) = packets.line()? {
            let line = String::from_utf8_lossy(line);
            let mut words = line.split(' ');
            let (id, name) = (words.next().unwrap_or_default(), words.next());
            // The server may list other names that start like a candidate.
            if !name.is_some_and(|name| candidates.iter().any(|candidate| candidate == name)) {
                continue;
            }
            let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
            found.extend(peeled.unwrap_or(id).parse::<Id>().ok());
        }
        match found.as_slice() {
            [id] => Ok(*id),
            [] => Err(Refused::new(
                Reason::RevisionNotFound,
                "the repository has no such branch or tag. Write a branch, a tag, or a whole commit",
            )),
            _ => Err(Refused::new(
                Reason::AmbiguousRevision,
                "a branch and a tag have this name: write `refs/heads/…` or `refs/tags/…`",
            )),
        }
    }

    /// The request for a commit with its folders. Files are left out if the server can do that.
    pub fn fetch_commit(&self, commit: Id) -> Vec<u8> {
        let mut request = self.fetch(&[commit]);
        push(&mut request, "deepen 1\n");
        if self.filters {
            push(&mut request, "filter blob:none\n");
        }
        request.extend_from_slice(FLUSH);
        request
    }

    /// The request for the commits before this one, at most [`MAX_HISTORY`]. None if the server cannot leave folders and files out.
    pub fn fetch_history(&self, commit: Id) -> Option<Vec<u8>> {
        if !self.filters {
            return None;
        }
        let mut request = self.fetch(&[commit]);
        push(&mut request, &format!("deepen {MAX_HISTORY}\n"));
        push(&mut request, "filter tree:0\n");
        request.extend_from_slice(FLUSH);
        Some(request)
    }

    /// The request for files.
    pub fn fetch_files(&self, files: &[Id]) -> Vec<u8> {
        let mut request = self.fetch(files);
        request.extend_from_slice(FLUSH);
        request
    }

    fn fetch(&self, wanted: &[Id]) -> Vec<u8> {
        let mut request = self.command("fetch");
        push(&mut request, "no-progress\n");
        push(&mut request, "ofs-delta\n");
        for id in wanted {
            push(&mut request, &format!("want {id}\n"));
        }
        push(&mut request, "done\n");
        request
    }

    fn command(&self, name: &str) -> Vec<u8> {
        let mut request = Vec::new();
        push(&mut request, &format!("command={name}\n"));
        push(&mut request, "agent=eso-sync\n");
        if self.names_format {
            push(&mut request, "object-format=sha1\n");
        }
        request.extend_from_slice(DELIMITER);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(lines: &[&str]) -> Vec<u8> {
        let mut answer = Vec::new();
        for line in lines {
            if line.is_empty() {
                answer.extend_from_slice(FLUSH);
            } else {
                push(&mut answer, line);
            }
        }
        answer
    }

    fn server() -> Server {
        let answer = packets(&["version 2\n", "fetch=shallow filter\n", ""]);
        Server::parse(&answer).expect("an advertisement")
    }

    fn reason<T>(result: Result<T, Refused>) -> Option<Reason> {
        result.err().map(|refused| refused.reason)
    }

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn servers_announce_version_2_with_or_without_a_service_line() {
        for start in [&[][..], &["# service=git-upload-pack\n", ""]] {
            let lines = [start, &["version 2\n", "agent=x\n", "fetch=shallow\n", ""]].concat();
            let server = Server::parse(&packets(&lines)).expect("an advertisement");
            assert!(!server.filters && !server.names_format);
        }
    }

    #[test]
    fn other_servers_are_refused() {
        for (answer, expected) in [
            (packets(&["version 1\n", ""]), Reason::GitProtocol),
            (
                packets(&[
                    "# service=git-upload-pack\n",
                    "",
                    &format!("{A} HEAD\0x\n"),
                    "",
                ]),
                Reason::GitProtocol,
            ),
            (b"<html>".to_vec(), Reason::GitProtocol),
            (Vec::new(), Reason::GitProtocol),
            (b"00".to_vec(), Reason::GitProtocol),
            (b"fff0version 2\n".to_vec(), Reason::GitProtocol),
            (
                packets(&["version 2\n", "ls-refs\n", ""]),
                Reason::GitProtocol,
            ),
            (
                packets(&["version 2\n", "object-format=sha256\n", "fetch\n", ""]),
                Reason::ObjectFormat,
            ),
            (
                packets(&["ERR access denied for hunter2\n"]),
                Reason::GitRefused,
            ),
        ] {
            let refused = Server::parse(&answer).err().expect("refused");
            assert_eq!(refused.reason, expected, "{answer:?}");
            assert!(!refused.message.contains("hunter2"));
        }
    }

    #[test]
    fn a_name_is_a_branch_or_a_tag_and_never_a_part_of_another_name() {
        let find = |name: &str, lines: &[&str]| {
            server().find(&Revision::of(name), &packets(&[lines, &[""]].concat()))
        };
        let branch = format!("{A} refs/heads/main\n");
        let longer = format!("{B} refs/heads/main-old\n");
        let tag = format!("{B} refs/tags/main peeled:{A}\n");
        assert_eq!(find("main", &[&branch, &longer]).unwrap().to_string(), A);
        assert_eq!(find("main", &[&tag]).unwrap().to_string(), A);
        let head = format!("{A} HEAD symref-target:refs/heads/main\n");
        assert_eq!(find("HEAD", &[&head]).unwrap().to_string(), A);
        assert_eq!(find("", &[&head]).unwrap().to_string(), A);
        assert_eq!(find("refs/heads/main", &[&branch]).unwrap().to_string(), A);
        assert_eq!(
            reason(find("main", &[&longer])),
            Some(Reason::RevisionNotFound)
        );
        assert_eq!(
            reason(find("HEAD", &["unborn HEAD\n"])),
            Some(Reason::RevisionNotFound)
        );
        assert_eq!(
            reason(find("main", &[&branch, &tag])),
            Some(Reason::AmbiguousRevision)
        );
    }

    #[test]
    fn a_commit_needs_no_listing() {
        let commit = Revision::of(B);
        assert_eq!(server().find(&commit, b"").unwrap().to_string(), B);
        assert_eq!(Revision::of(&B[..39]), Revision::Named(B[..39].to_owned()));
    }

    #[test]
    fn files_are_left_out_only_if_the_server_can_do_that() {
        let text =
            |server: &Server| String::from_utf8(server.fetch_commit(A.parse().unwrap())).unwrap();
        assert!(text(&server()).contains("filter blob:none"));
        let plain = Server::parse(&packets(&["version 2\n", "fetch=shallow\n", ""])).unwrap();
        assert!(!text(&plain).contains("filter") && text(&plain).contains("deepen 1"));
    }

    #[test]
    fn history_is_fetched_only_without_folders_and_files() {
        let commit: Id = A.parse().unwrap();
        let request = server().fetch_history(commit).unwrap();
        let text = String::from_utf8(request).unwrap();
        assert!(
            text.contains("filter tree:0") && text.contains(&format!("want {A}")),
            "{text}"
        );
        let plain = Server::parse(&packets(&["version 2\n", "fetch=shallow\n", ""])).unwrap();
        assert!(plain.fetch_history(commit).is_none());
    }
}
