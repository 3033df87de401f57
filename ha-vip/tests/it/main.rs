//! Everything of ha-vip that needs more than one module.

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod vectors;
