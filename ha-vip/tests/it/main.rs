//! Everything of ha-vip that needs more than one module.

#[cfg(test)]
mod addresses;
#[cfg(test)]
mod bfd;
#[cfg(test)]
mod bfd_kernel;
#[cfg(test)]
mod bfd_vectors;
#[cfg(test)]
mod carp;
#[cfg(test)]
mod carp_vectors;
#[cfg(test)]
mod conflict;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod guardian;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod macvlan;
#[cfg(test)]
mod real_kernel;
#[cfg(test)]
mod service;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod track;
#[cfg(test)]
mod ucarp_model;
#[cfg(test)]
mod vectors;
