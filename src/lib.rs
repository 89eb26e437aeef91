//! Closes the chain provider → `ExternalSecret` → Secret after a rotation, and proves it.
