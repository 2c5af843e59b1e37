// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Lengths in bytes of the frames that announce an address, Ethernet header
// included. The sender's device pads the shorter one.
const (
	arpFrameLen = 14 + 28
	naFrameLen  = 14 + 40 + naLen

	// naLen is a Neighbor Advertisement with one Target Link-Layer Address
	// option (RFC 4861 sections 4.4 and 4.6.1).
	naLen = 24 + 8
)

// ARP operations (RFC 826).
const (
	arpRequest = 1
	arpReply   = 2
)

// Values of the headers below.
const (
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd

	protoICMPv6   = 58
	icmpv6NA      = 136
	optTargetLLA  = 2
	naRouter      = 0x80
	naOverride    = 0x20
	naHopLimit    = 255 // RFC 4861 section 7.1.2: receivers drop any other
	arpHWEthernet = 1
	arpProtoIPv4  = 0x0800
)

var (
	broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	// allNodesMAC is the group of ff02::1 (RFC 2464 section 7).
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0x00, 0x00, 0x00, 0x01}
	allNodes    = netip.MustParseAddr("ff02::1")
)

// appendARP appends the frame of a gratuitous ARP (RFC 5227 section 3: an ARP
// announcement) for addr, which is IPv4, from mac, which has 6 bytes. Sender and
// target protocol address are addr, the target hardware address is all ones.
func appendARP(b []byte, op uint16, mac net.HardwareAddr, addr netip.Addr) []byte {
	b = appendEthernet(b, broadcastMAC, mac, etherTypeARP)
	b = binary.BigEndian.AppendUint16(b, arpHWEthernet)
	b = binary.BigEndian.AppendUint16(b, arpProtoIPv4)
	b = append(b, 6, 4) // lengths of hardware and protocol address
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(b, mac...)
	b = append(b, addr.AsSlice()...)
	b = append(b, broadcastMAC...)
	return append(b, addr.AsSlice()...)
}

// appendNA appends the frame of an unsolicited Neighbor Advertisement (RFC 4861
// section 7.2.6) for addr, which is IPv6, from mac, which has 6 bytes: from addr
// itself to all nodes, Override set, Solicited clear, and Router set if router
// says that this host forwards, lest its neighbors drop it as a router.
func appendNA(b []byte, mac net.HardwareAddr, addr netip.Addr, router bool) []byte {
	b = appendEthernet(b, allNodesMAC, mac, etherTypeIPv6)
	b = append(b, 6<<4, 0, 0, 0) // version; class and flow 0
	b = binary.BigEndian.AppendUint16(b, naLen)
	b = append(b, protoICMPv6, naHopLimit)
	b = append(b, addr.AsSlice()...)
	b = append(b, allNodes.AsSlice()...)

	flags := byte(naOverride)
	if router {
		flags |= naRouter
	}
	icmp := len(b)
	b = append(b, icmpv6NA, 0, 0, 0) // type, code, checksum
	b = append(b, flags, 0, 0, 0)
	b = append(b, addr.AsSlice()...)
	b = append(b, optTargetLLA, 1) // length in units of 8 bytes
	b = append(b, mac...)
	binary.BigEndian.PutUint16(b[icmp+2:], icmpv6Checksum(addr, allNodes, b[icmp:]))
	return b
}

func appendEthernet(b []byte, dst, src net.HardwareAddr, etherType uint16) []byte {
	b = append(b, dst...)
	b = append(b, src...)
	return binary.BigEndian.AppendUint16(b, etherType)
}

// icmpv6Checksum returns the checksum of the message, of even length and with a
// checksum field of zero, under the pseudo-header of RFC 8200 section 8.1.
func icmpv6Checksum(src, dst netip.Addr, message []byte) uint16 {
	var sum uint32
	add := func(b []byte) {
		for ; len(b) > 0; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
	}
	add(src.AsSlice())
	add(dst.AsSlice())
	add(message)
	sum += uint32(len(message)) + protoICMPv6
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
