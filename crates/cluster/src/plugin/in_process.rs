//! The token of a plugin whose program is missing, made by this process.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use pace::Wait;
use tokio::time::timeout;

use super::{ANNOUNCED, LIMIT, Surroundings, Why, process};
use crate::{
    kubeconfig::Exec,
    native::{Call, Source, Token},
};

/// The source of a plugin's tokens.
pub(super) struct InProcess {
    /// The source, or why these arguments are not supported.
    source: Result<Source, String>,
    forced: bool,
    say: Arc<dyn Fn(&str) + Send + Sync>,
    said: AtomicBool,
}

impl InProcess {
    /// None if only the program can make this plugin's token. Fails if the program must not be used.
    pub(super) fn of(exec: &Exec, surroundings: Surroundings<'_>) -> Result<Option<Self>, String> {
        let Some(native) = surroundings.native else {
            return Ok(None);
        };
        let mut call = Call {
            program: program(&exec.command).to_owned(),
            arguments: exec.args.clone(),
            environment: surroundings.environment.clone(),
            of_kubeconfig: BTreeSet::new(),
            clock: surroundings.clock,
        };
        for variable in &exec.env {
            let (name, value) = (variable.name.clone(), variable.value.clone());
            call.of_kubeconfig.insert(name.clone());
            call.environment.insert(name, value);
        }
        match (native.find)(&call) {
            Some(source) => Ok(Some(Self {
                source,
                forced: native.always,
                say: Arc::clone(&native.say),
                said: AtomicBool::new(false),
            })),
            None if native.always => Err(format!(
                "cannot be replaced, as --native-auth demands: eso-sync makes the tokens of {}",
                native.known
            )),
            None => Ok(None),
        }
    }

    /// True if the program must not be used.
    pub(super) const fn is_forced(&self) -> bool {
        self.forced
    }

    /// Makes a token, and says so the first time. `name` is the name of the program.
    pub(super) async fn token(&self, name: &str, after_rejection: bool) -> Result<Token, Why> {
        let missing = if self.forced {
            "is not used (--native-auth)"
        } else {
            "is not installed here, or not on the PATH"
        };
        let failed = |why: &str| {
            let why = process::shown(why);
            Why::NotMade(format!(
                "{missing}, and eso-sync cannot make its token: {why}"
            ))
        };
        let source = self.source.as_ref().map_err(|why| failed(why))?;
        if !self.said.swap(true, Ordering::Relaxed) {
            let command = source.command;
            (self.say)(&format!(
                "the credential plugin {name} {missing}; eso-sync makes the token of `{command}` itself"
            ));
        }
        let waiting = Wait::at_most(LIMIT)
            .announced_after(ANNOUNCED)
            .on(
                || format!("the token of {}", source.command),
                timeout(LIMIT, (source.issue)(after_rejection)),
            )
            .await;
        let made =
            waiting.map_err(|_| failed(&format!("it took longer than {} s", LIMIT.as_secs())))?;
        made.map_err(|why| failed(&why))
    }
}

/// The command without its folder and without `.exe`: a kubeconfig of Windows may be used in a container.
fn program(command: &str) -> &str {
    let name = command.rsplit(['/', '\\']).next().unwrap_or_default();
    name.strip_suffix(".exe").unwrap_or(name)
}
