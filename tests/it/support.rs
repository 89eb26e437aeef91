//! Shared by the tests of whole runs: a cluster (the sandbox or a real one), and the real binary.

mod binary;
mod planted;
mod world;

pub(crate) use self::{
    binary::{Outcome, Running, Terminal, Workspace},
    planted::Planted,
    world::{World, eventually, now, optional_variable},
};

/// Makes two tests of each scenario: `MODULE::sandbox::NAME`, and `cluster::NAME` for a real cluster (tests/it/cluster.rs).
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
