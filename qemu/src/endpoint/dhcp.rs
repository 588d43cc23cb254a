//! A DHCP server just big enough for one link (RFC 2131, options of RFC 2132).

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Options of RFC 2132.
const OPTION_HOST_NAME: u8 = 12;
const OPTION_NTP: u8 = 42;
const OPTION_VENDOR_CLASS: u8 = 60;
const OPTION_BOOT_FILE: u8 = 67;
/// Option of RFC 3004; iPXE names itself there.
const OPTION_USER_CLASS: u8 = 77;
/// How UEFI firmware that boots over HTTP calls itself, and wants to be answered (UEFI 2.10 section 24.7).
const HTTP_CLIENT: &[u8] = b"HTTPClient";

/// What the server hands out.
#[derive(Clone, Debug)]
pub struct DhcpConfig {
    /// The server's own address.
    pub server: Ipv4Addr,
    /// First address of the pool; it holds 64.
    pub first: Ipv4Addr,
    /// Prefix length of the link.
    pub prefix: u8,
    /// Option 3, the router.
    pub router: Option<Ipv4Addr>,
    /// Option 6, name servers (at most three are sent).
    pub dns: Vec<Ipv4Addr>,
    /// Option 42, servers of the time.
    pub ntp: Vec<Ipv4Addr>,
    /// Option 12, the client's name.
    pub host_name: Option<String>,
    /// Option 67 for clients that boot over HTTP: UEFI firmware as far as it does so, and iPXE.
    pub boot_uri: Option<String>,
    /// Lease time in seconds.
    pub lease_seconds: u32,
}

/// What kind of client asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    UefiHttp,
    Ipxe,
    Other,
}

impl Client {
    fn of(request: &DhcpPacket<&[u8]>) -> Client {
        let option = |kind| request.options().find(|option| option.kind == kind).map(|option| option.data);
        if option(OPTION_VENDOR_CLASS).is_some_and(|class| class.starts_with(HTTP_CLIENT)) {
            Client::UefiHttp
        } else if option(OPTION_USER_CLASS).is_some_and(|class| class.ends_with(b"iPXE")) {
            Client::Ipxe
        } else {
            Client::Other
        }
    }
}

/// A lease that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who got it.
    pub mac: [u8; 6],
    /// What it got.
    pub address: Ipv4Addr,
    /// How often it was acknowledged (1, and more with renewals).
    pub acknowledged: u32,
}

pub struct DhcpServer {
    config: DhcpConfig,
    mac: [u8; 6],
    /// One per client; `acknowledged` is 0 while only offered.
    leases: Vec<Lease>,
}

impl DhcpServer {
    const POOL: u32 = 64;

    pub fn new(config: DhcpConfig, mac: [u8; 6]) -> DhcpServer {
        DhcpServer { config, mac, leases: Vec::new() }
    }

    pub fn leases(&self) -> Vec<Lease> {
        self.leases.iter().copied().filter(|lease| lease.acknowledged > 0).collect()
    }

    /// The reply to a received frame, if that is a DHCP request.
    pub fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        if ethernet.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        if ip.next_header() != IpProtocol::Udp {
            return None;
        }
        let udp = UdpPacket::new_checked(ip.payload()).ok()?;
        if udp.dst_port() != SERVER_PORT {
            return None;
        }
        let request = DhcpPacket::new_checked(udp.payload()).ok()?;
        let client = Client::of(&request);
        let request = DhcpRepr::parse(&request).ok()?;
        let mac = request.client_hardware_address;
        let address = self.address_for(mac.0)?;
        let kind = match request.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request
                if request.server_identifier.is_some_and(|id| id != self.config.server) =>
            {
                return None; // the client chose another server
            }
            DhcpMessageType::Request => {
                let wanted = request.requested_ip.unwrap_or(request.client_ip);
                if wanted == address { DhcpMessageType::Ack } else { DhcpMessageType::Nak }
            }
            _ => return None,
        };
        if kind == DhcpMessageType::Ack {
            self.leases
                .iter_mut()
                .filter(|lease| lease.mac == mac.0)
                .for_each(|lease| lease.acknowledged += 1);
        }
        Some(self.reply(&request, client, kind, address))
    }

    /// The client's old address, or the next free one.
    fn address_for(&mut self, mac: [u8; 6]) -> Option<Ipv4Addr> {
        if let Some(lease) = self.leases.iter().find(|lease| lease.mac == mac) {
            return Some(lease.address);
        }
        let first = u32::from(self.config.first);
        let address = (first..first + Self::POOL)
            .map(Ipv4Addr::from)
            .find(|&address| self.leases.iter().all(|lease| lease.address != address))?;
        self.leases.push(Lease { mac, address, acknowledged: 0 });
        Some(address)
    }

    fn reply(
        &self,
        request: &DhcpRepr<'_>,
        client: Client,
        kind: DhcpMessageType,
        address: Ipv4Addr,
    ) -> Vec<u8> {
        let config = &self.config;
        let granted = kind != DhcpMessageType::Nak;
        let boot_file = config.boot_uri.as_deref().filter(|_| client != Client::Other).map(str::as_bytes);
        let ntp: Vec<u8> = config.ntp.iter().flat_map(Ipv4Addr::octets).collect();
        let options: Vec<DhcpOption<'_>> = [
            (OPTION_NTP, Some(&*ntp).filter(|ntp| granted && !ntp.is_empty())),
            (OPTION_HOST_NAME, config.host_name.as_deref().map(str::as_bytes)),
            (OPTION_VENDOR_CLASS, boot_file.filter(|_| client == Client::UefiHttp).map(|_| HTTP_CLIENT)),
            (OPTION_BOOT_FILE, boot_file),
        ]
        .into_iter()
        .filter_map(|(kind, data)| data.map(|data| DhcpOption { kind, data }))
        .collect();
        let mask = u32::MAX.checked_shl(32 - u32::from(config.prefix)).unwrap_or(0);
        let dhcp = DhcpRepr {
            message_type: kind,
            transaction_id: request.transaction_id,
            secs: 0,
            client_hardware_address: request.client_hardware_address,
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: if granted { address } else { Ipv4Addr::UNSPECIFIED },
            server_ip: config.server,
            router: config.router.filter(|_| granted),
            subnet_mask: granted.then(|| Ipv4Addr::from(mask)),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: request.broadcast,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(config.server),
            parameter_request_list: None,
            dns_servers: (granted && !config.dns.is_empty())
                .then(|| config.dns.iter().copied().take(3).collect()),
            max_size: None,
            lease_duration: granted.then_some(config.lease_seconds),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &options,
        };
        // Everything goes to the broadcast IP address; a client without an address of its own takes that.
        let udp = UdpRepr { src_port: SERVER_PORT, dst_port: CLIENT_PORT };
        let ip = Ipv4Repr {
            src_addr: config.server,
            dst_addr: Ipv4Addr::BROADCAST,
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + dhcp.buffer_len(),
            hop_limit: 64,
        };
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(self.mac),
            dst_addr: if request.broadcast {
                EthernetAddress::BROADCAST
            } else {
                request.client_hardware_address
            },
            ethertype: EthernetProtocol::Ipv4,
        };
        let checksum = ChecksumCapabilities::default();
        let mut frame = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
        let mut out = EthernetFrame::new_unchecked(&mut frame[..]);
        ethernet.emit(&mut out);
        let mut packet = Ipv4Packet::new_unchecked(out.payload_mut());
        ip.emit(&mut packet, &checksum);
        udp.emit(
            &mut UdpPacket::new_unchecked(packet.payload_mut()),
            &IpAddress::Ipv4(config.server),
            &IpAddress::Ipv4(Ipv4Addr::BROADCAST),
            dhcp.buffer_len(),
            // The reply was sized by `buffer_len`, so `emit` has the room it needs.
            |payload| {
                let _ = dhcp.emit(&mut DhcpPacket::new_unchecked(payload));
            },
            &checksum,
        );
        frame
    }
}
