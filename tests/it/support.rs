//! What the tests of whole runs share: a world (the sandbox, or a real cluster), and the real binary in it.

mod binary;
mod world;

pub(crate) use self::{
    binary::{Outcome, Running, Terminal, Workspace},
    world::{World, eventually, now, optional_variable},
};

/// Each scenario as two tests: `MODULE::sandbox::NAME`, and `cluster::NAME` where there is a cluster (tests/it/cluster.rs).
macro_rules! scenarios {
    ($($name:ident)*) => {
        mod sandbox {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::support::World::sandbox().await).await;
            })*
        }

        pub(crate) mod real {
            $(pub(crate) async fn $name() {
                super::$name(crate::support::World::cluster().await).await;
            })*
        }
    };
}
pub(crate) use scenarios;
