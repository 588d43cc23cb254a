//! Whole transports on impaired wires: the rows of section 26 that concern this layer.

mod chaos;
mod claims;
mod figures;
mod hostile;
mod life;
mod links;
mod loss;
mod names;
mod order;
mod peers;
