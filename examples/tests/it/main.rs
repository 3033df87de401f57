//! The programs against real peers, in the laboratory.

#[cfg(test)]
mod bfd;
#[cfg(test)]
mod carp;
#[cfg(test)]
mod cloud;
#[cfg(test)]
mod compose;
#[cfg(test)]
mod fence_lab;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keepalived;
#[cfg(test)]
mod keepalived_site;
#[cfg(test)]
mod operate;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod router;
#[cfg(test)]
mod shared_storage;
