mod i6300esb;
mod tco;
