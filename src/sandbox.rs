//! temporary
pub enum Content {
    Default,
}
impl std::str::FromStr for Content {
    type Err = SandboxError;
    fn from_str(_: &str) -> Result<Self, SandboxError> {
        Ok(Self::Default)
    }
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct SandboxError;
pub struct Sandbox;
impl Sandbox {
    pub fn url(&self) -> String {
        String::new()
    }
}
pub async fn start(_: &Content, _: jiff::Timestamp) -> Result<Sandbox, SandboxError> {
    Err(SandboxError)
}
