//! Whole transports on impaired wires: the rows of section 26 that concern this layer.

mod loss;
