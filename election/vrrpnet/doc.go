// SPDX-License-Identifier: Apache-2.0

// Package vrrpnet sends and receives VRRP advertisements: IP protocol 112 over
// IPv4 and IPv6, to the multicast group or to configured unicast peers.
//
// [Listen] opens a [Conn] on a network interface of Linux. It needs
// CAP_NET_RAW. A [LAN] connects Conns in memory, for tests and simulations;
// what it carries are the encoded messages, and every check is the one that
// packets of a real network meet.
//
// # What Receive returns
//
// An advertisement that passed every check of RFC 9568 §7.1 (RFC 3768 §7.1)
// and belongs to the virtual router of the [Config]: right interface, TTL or
// hop limit 255, right kind of destination, an accepted source that is not our
// own, a message without fault, the configured version and, in version 2, the
// configured authentication and interval. Everything else is counted under its
// [vrrp.Reason] and never seen by the caller. The list of addresses is not
// compared with anything: RFC 9568 §7.1 leaves that to a log line, and a
// packet dropped for it would mean two active routers.
//
// # When the network changes
//
// A link that goes down and comes up again needs no attention. After the
// addresses of the interface changed, [Conn.Rejoin] selects the source address
// anew and joins the group again. If the interface is removed, even if one of
// the same name takes its place, Send, Receive and Rejoin return
// [ErrInterfaceGone]; the caller then closes the Conn and calls Listen again.
package vrrpnet
