//! AWS: an IAM policy for the secrets that the ExternalSecrets read.

use eso_model::ProviderKind;
use serde_json::{Value, json};

use super::{Context, KnownStore, Parts, shell};
use crate::rbac::provider::{aws_policy, aws_statements, statement};

/// The maximum number of names that a policy lists for a store: a managed policy may have 6,144 characters.
const NAMED: usize = 40;

/// The part of an ARN that a policy leaves open, and that AWS makes up when a secret is created.
const SUFFIX: &str = "-??????";

pub(super) fn parts(context: &Context<'_>) -> Parts {
    let access = context
        .filled()
        .map_or_else(Wanted::placeholders, |stores| Wanted::of(&stores));
    let mut parts = Parts::default();
    parts.add("set", variables(context));
    parts.add("policy", access.policy());
    parts.add("kms", indented(&access.customer_keys()));
    parts.add("roles", access.roles_in_words());
    let (read, write) = if access.secrets.is_empty() && !access.parameters.is_empty() {
        ("ssm:GetParameters", "ssm:PutParameter")
    } else {
        (
            "secretsmanager:GetSecretValue",
            "secretsmanager:PutSecretValue",
        )
    };
    parts.add("read", read);
    parts.add("write", write);
    parts.add("example", access.example());
    parts
}

fn variables(context: &Context<'_>) -> String {
    let known = context.known.and_then(|known| known.context.as_deref());
    // The name that `aws eks update-kubeconfig` gives a context.
    let arn: Vec<&str> = known.unwrap_or_default().splitn(6, ':').collect();
    let (partition, region, cluster) = match &*arn {
        ["arn", partition, "eks", region, _, cluster] => {
            (*partition, *region, cluster.trim_start_matches("cluster/"))
        }
        _ => (
            "aws",
            "<region of the EKS cluster>",
            "<name of the EKS cluster>",
        ),
    };
    format!(
        "{}\nROLE=eso-sync\nCLUSTER={}\nPARTITION={}\nexport AWS_REGION={}\nACCOUNT=$(aws sts get-caller-identity --query Account --output text)",
        context.job_variables(),
        shell::word(cluster),
        shell::word(partition),
        shell::word(region),
    )
}

/// What the job's role may do.
#[derive(Default)]
struct Wanted {
    secrets: Vec<String>,
    parameters: Vec<String>,
    /// The roles that stores name, and whether the sessions have tags.
    roles: Vec<String>,
    has_tags: bool,
    /// The names of the statements that are needed.
    needed: Vec<&'static str>,
}

/// The statements that are needed for any read, for a search, and for tags.
const OF_SECRETS: [&[&str]; 3] = [
    &["ReadSecrets", "ReadSecretsInBatches"],
    &["OnlyForFindInSecretsManager"],
    &["OnlyForMetadataAndRotationsOfSecrets"],
];
const OF_PARAMETERS: [&[&str]; 3] = [
    &["OnlyForParameterStore"],
    &[
        "OnlyForFindInParameterStore",
        "OnlyForFindByTagsInParameterStore",
    ],
    &["OnlyForMetadataOfParameters"],
];

/// The statement that is shown apart from the others.
const CUSTOMER_KEYS: &str = "OnlyForCustomerManagedKeys";

impl Wanted {
    /// Without a cluster: everything that could be needed.
    fn placeholders() -> Self {
        Self {
            secrets: vec![format!(
                "arn:aws:secretsmanager:<region>:*:secret:<name>{SUFFIX}"
            )],
            parameters: vec!["arn:aws:ssm:<region>:*:parameter/<name>".to_owned()],
            needed: OF_SECRETS
                .into_iter()
                .chain(OF_PARAMETERS)
                .flatten()
                .copied()
                .collect(),
            ..Self::default()
        }
    }

    fn of(stores: &[&KnownStore]) -> Self {
        let mut wanted = Self::default();
        for store in stores {
            let first = store
                .settings
                .pointer("/additionalRoles/0")
                .and_then(Value::as_str);
            let role = first.unwrap_or_else(|| store.at("/role"));
            if !role.is_empty() {
                wanted.roles.push(role.to_owned());
                let tags = store
                    .settings
                    .pointer("/sessionTags")
                    .and_then(Value::as_array);
                wanted.has_tags |= tags.is_some_and(|tags| !tags.is_empty());
                continue;
            }
            let is_parameters = store.provider == ProviderKind::ParameterStore;
            let (resources, statements) = if is_parameters {
                (&mut wanted.parameters, OF_PARAMETERS)
            } else {
                (&mut wanted.secrets, OF_SECRETS)
            };
            resources.extend(arns(store, is_parameters));
            let [always, searching, metadata] = statements;
            wanted.needed.extend(always);
            if !store.searches.is_empty() || store.is_incomplete {
                wanted.needed.extend(searching);
            }
            if store.reads_metadata || store.is_incomplete {
                wanted.needed.extend(metadata);
            }
        }
        for names in [
            &mut wanted.secrets,
            &mut wanted.parameters,
            &mut wanted.roles,
        ] {
            names.sort_unstable();
            names.dedup();
        }
        wanted
    }

    fn statements(&self) -> Vec<Value> {
        aws_statements(&json!(self.secrets), &json!(self.parameters))
    }

    fn policy(&self) -> String {
        let is_needed = |statement: &Value| {
            let sid = statement.get("Sid").and_then(Value::as_str);
            sid.is_some_and(|sid| self.needed.contains(&sid))
        };
        let mut statements = self.statements();
        statements.retain(is_needed);
        if !self.roles.is_empty() {
            let tags: &[&str] = if self.has_tags {
                &["sts:TagSession"]
            } else {
                &[]
            };
            let actions = [&["sts:AssumeRole"][..], tags].concat();
            statements.push(statement(
                "AssumeTheRolesOfStores",
                &actions,
                json!(self.roles),
            ));
        }
        let policy = aws_policy(&statements);
        shell::visible_json(&format!("{policy:#}"))
    }

    fn customer_keys(&self) -> String {
        let all = self.statements();
        let is_meant = |it: &&Value| it.get("Sid").and_then(Value::as_str) == Some(CUSTOMER_KEYS);
        all.iter()
            .find(is_meant)
            .map_or_else(String::new, |it| format!("{it:#}"))
    }

    fn roles_in_words(&self) -> String {
        let roles = self.roles.iter().take(10);
        let roles: Vec<String> = roles.map(|role| shell::code(role)).collect();
        match &*roles {
            [] => "The policy then has a statement for it.".to_owned(),
            some_of => format!("These are {}.", some_of.join(", ")),
        }
    }

    /// A secret that the role may read.
    fn example(&self) -> String {
        let resource = self.secrets.first().or_else(|| self.parameters.first());
        let resource = resource.map_or(
            "arn:aws:secretsmanager:<region>:*:secret:<name>-abcdef",
            String::as_str,
        );
        let name = resource.replace(SUFFIX, "-abcdef");
        let Some((before, after)) = name.split_once(":*:") else {
            return shell::word(&name);
        };
        let after = after.replace('*', "example");
        format!(
            "{}\"$ACCOUNT\"{}",
            shell::word(&format!("{before}:")),
            shell::word(&format!(":{after}"))
        )
    }
}

/// The resources that an ExternalSecret of this store reads.
fn arns(store: &KnownStore, is_parameters: bool) -> Vec<String> {
    let region = store.at("/region");
    let partition = match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let region = if region.is_empty() { "*" } else { region };
    let prefix = store.at("/prefix");
    let start = if is_parameters {
        format!("arn:{partition}:ssm:{region}:*:parameter/")
    } else {
        format!("arn:{partition}:secretsmanager:{region}:*:secret:")
    };
    if store.is_incomplete {
        return vec![format!("{start}*")];
    }
    let arn = |name: &str, end: &str| {
        let name = if is_parameters {
            name.trim_start_matches('/')
        } else {
            name
        };
        format!("{start}{}{end}", literal(name))
    };
    let searched = store
        .searches
        .iter()
        .map(|path| arn(&format!("{prefix}{path}"), "*"));
    let mut arns: Vec<String> = searched.collect();
    if store.keys.len() > NAMED {
        let folders = store.keys.iter().map(|key| {
            let (folder, _) = key
                .trim_start_matches('/')
                .split_once('/')
                .unwrap_or((key.as_str(), ""));
            arn(&format!("{prefix}{folder}"), "*")
        });
        arns.extend(folders);
        arns.sort_unstable();
        arns.dedup();
        if arns.len() > NAMED {
            return vec![format!("{start}*")];
        }
        return arns;
    }
    for key in &store.keys {
        match (key.starts_with("arn:"), is_parameters) {
            (true, true) => arns.push(literal(key)),
            // The suffix may be missing in the key.
            (true, false) => arns.extend([literal(key), format!("{}{SUFFIX}", literal(key))]),
            (false, true) => {
                let (name, _version) = key.split_once(':').unwrap_or((key.as_str(), ""));
                arns.push(arn(&format!("{prefix}{name}"), ""));
            }
            (false, false) => arns.push(arn(&format!("{prefix}{key}"), SUFFIX)),
        }
    }
    arns
}

/// A name without the wildcards and variables of a policy.
fn literal(name: &str) -> String {
    let mut literal = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '*' | '?' | '$' => literal.extend(['$', '{', c, '}']),
            c => literal.push(c),
        }
    }
    literal
}

/// Indented as a part of a list.
fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
