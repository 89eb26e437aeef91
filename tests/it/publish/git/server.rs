//! The real Git server over HTTPS: this program starts `git http-backend` for each request.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::connection::servers::Authority;

/// A repository with a work tree.
pub(super) struct Repository {
    folder: TempDir,
    name: &'static str,
}

impl Repository {
    pub(super) fn new(name: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = Self { folder, name };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Runs git in the work tree, and returns what it prints.
    pub(super) fn git(&self, arguments: &[&str]) -> String {
        std::fs::create_dir_all(self.path()).expect("a folder");
        let output = Command::new("git")
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .args([
                "-c",
                "user.name=test",
                "-c",
                "user.email=test@test.example",
                "-c",
                "gc.auto=0",
            ])
            .args(arguments)
            .output()
            .expect("git runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit_all(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "change"]);
    }

    pub(super) fn commit(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        self.commit_all();
    }

    /// Commits a file that cannot be compressed.
    pub(super) fn commit_random(&self, name: &str, size: usize) {
        let mut state = 1_u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(size)
        .collect();
        std::fs::write(self.path().join(name), bytes).expect("a file");
        self.commit_all();
    }

    pub(super) fn commit_link(&self, name: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.path().join(name)).expect("a link");
        self.commit_all();
    }

    pub(super) fn commit_submodule(&self, name: &str) {
        let commit = self.id("HEAD");
        self.git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{commit},{name}"),
        ]);
        self.git(&["commit", "-q", "-m", "module"]);
    }

    pub(super) fn id(&self, revision: &str) -> String {
        self.git(&["rev-parse", revision])
    }
}

/// A server. It stops when the value is dropped.
pub(super) struct GitServer {
    /// The certificate authority, in PEM.
    pub(super) authority: String,
    port: u16,
    requests: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
enum Answer {
    Repository {
        path: PathBuf,
        name: &'static str,
        password: Option<&'static str>,
    },
    Redirect(String),
}

impl GitServer {
    /// Serves a repository to the user `robot` with this password.
    pub(super) async fn start(repository: &Repository, password: Option<&'static str>) -> Self {
        Self::serve(Answer::Repository {
            path: repository.path(),
            name: repository.name,
            password,
        })
        .await
    }

    pub(super) async fn redirecting(to: &str) -> Self {
        Self::serve(Answer::Redirect(to.to_owned())).await
    }

    async fn serve(answer: Answer) -> Self {
        let authority = Authority::new("git");
        let pair = authority.server(&["127.0.0.1"]);
        let tls = authority.acceptor(&pair);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answer, counted) = (tls.clone(), answer.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    // A client that does not know the authority closes the connection.
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(async |request: Request<Incoming>| {
                        counted.fetch_add(1, Ordering::Relaxed);
                        answered(&answer, request).await
                    });
                    let connection = http1::Builder::new();
                    drop(
                        connection
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self {
            authority: authority.pem,
            port,
            requests,
            serving,
        }
    }

    pub(super) fn url(&self, name: &str) -> String {
        format!("https://127.0.0.1:{}/{name}", self.port)
    }

    /// The number of requests so far.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn answered(
    answer: &Answer,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let empty = |status: u16| Response::builder().status(status);
    let (path, name, password) = match answer {
        Answer::Redirect(to) => {
            let to = format!("{to}/info/refs?service=git-upload-pack");
            let response = empty(301).header("location", to).body(Full::default());
            return Ok(response.expect("a response"));
        }
        Answer::Repository {
            path,
            name,
            password,
        } => (path, name, password),
    };
    let (parts, body) = request.into_parts();
    let expected = password.map(|password| {
        let both = BASE64_STANDARD.encode(format!("robot:{password}"));
        format!("Basic {both}")
    });
    let shown = parts.headers.get(AUTHORIZATION);
    let shown = shown.map(|header| header.to_str().expect("text").to_owned());
    if expected.is_some() && shown != expected {
        return Ok(empty(401).body(Full::default()).expect("a response"));
    }
    let body = body.collect().await?.to_bytes();
    let Some(inner) = parts.uri.path().strip_prefix(&format!("/{name}")) else {
        return Ok(empty(404).body(Full::default()).expect("a response"));
    };
    let header = |name: &str| {
        let value = parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", path)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/.git{inner}"))
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("git runs");
        let mut input = child.stdin.take().expect("piped");
        // A server that ends early does not read everything.
        drop(input.write_all(&body));
        drop(input);
        child.wait_with_output().expect("git ends")
    });
    Ok(of_cgi(&output.await.expect("no panic").stdout))
}

/// Reads the headers and the body that a CGI program prints.
fn of_cgi(output: &[u8]) -> Response<Full<Bytes>> {
    let end = output.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.expect("headers");
    let headers = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut response = Response::builder();
    for line in headers.lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().expect("a status")),
            _ => response.header(name, value),
        };
    }
    let body = Bytes::copy_from_slice(&output[end + 4..]);
    response.body(Full::new(body)).expect("a response")
}
