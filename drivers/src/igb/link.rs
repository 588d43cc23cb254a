//! Bringing the link up: through the chip's own PHY, or without one (82576 datasheet section 3.5, I350 section 3.7, I210
//! section 3.7).
//!
//! Which it is comes from the EEPROM. The PHY is told to negotiate. Otherwise the physical coding sublayer is turned
//! on: with SGMII and SerDes it negotiates, with 1000BASE-KX it has nobody to do so with; the last two know one speed.

use super::phy;
use super::regs::*;
use keelson_hal::{Clock, Registers};

pub(super) fn start(registers: &dyn Registers, clock: &dyn Clock) {
    let mode = registers.read32(CTRL_EXT) >> CTRL_EXT_LINK_SHIFT & 3;
    let control = registers.read32(CTRL) & !(CTRL_MASTER_DISABLE | CTRL_FRCSPD | CTRL_FRCDPX) | CTRL_SLU;
    let forced = control | CTRL_FD | CTRL_SPEED_1000 | CTRL_FRCSPD | CTRL_FRCDPX;
    let negotiate = PCS_LCTL_AN_ENABLE | PCS_LCTL_AN_RESTART;
    let (control, coding) = match mode {
        LINK_PHY => {
            registers.write32(CTRL, control);
            if let Err(what) = phy::negotiate(registers, clock) {
                log::warn!(target: "igb", "{what}: the link is left as it is");
            }
            return;
        }
        LINK_SGMII => (control, negotiate),
        LINK_KX => (forced, PCS_LCTL_1000_FULL | PCS_LCTL_FSD | PCS_LCTL_FORCE_FLOW),
        // SerDes.
        _ => (forced, PCS_LCTL_1000_FULL | PCS_LCTL_AN_TIMEOUT | negotiate),
    };
    registers.write32(PCS_CFG, registers.read32(PCS_CFG) | PCS_CFG_EN);
    registers.write32(CTRL, control);
    let decided = PCS_LCTL_LINK_UP
        | PCS_LCTL_FSD
        | PCS_LCTL_FORCE_LINK
        | PCS_LCTL_FORCE_FLOW
        | PCS_LCTL_AN_ENABLE
        | PCS_LCTL_AN_TIMEOUT;
    registers.write32(PCS_LCTL, registers.read32(PCS_LCTL) & !decided | coding);
}
