// SPDX-License-Identifier: Apache-2.0

// Package vrrp encodes and decodes VRRP advertisements: version 2 (RFC 3768,
// IPv4) and version 3 (RFC 9568 and its predecessor RFC 5798, IPv4 and IPv6).
//
// The package is pure: no clock, no I/O, no logger. [Advertisement.Parse] does
// not allocate once the Advertisement it fills has room for the addresses, and
// never keeps a reference to its input.
//
// # What is checked where
//
// Parse makes every check of RFC 9568 §7.1 (RFC 3768 §7.1) that the message
// itself and its two IP addresses decide: version, type, length, checksum,
// virtual router identifier, interval, number of addresses, kind of
// authentication. What depends on the IP header or on this router's own
// configuration is the receiver's affair. [Reason] names both kinds, so that
// one vocabulary serves counters, logs and documentation.
//
// # Decisions where the documents differ
//
//   - The checksum of version 3 over IPv4 exists in two dialects, see
//     [Checksum]. Both are accepted, and Parse says which one it met.
//   - An interval of zero is discarded (RFC 9568 erratum 8301), in both versions.
//   - Zero addresses are discarded in version 3 (RFC 9568 §5.2.5) and accepted
//     in version 2, which has no such rule.
//   - In version 3 over IPv6 the first address should be link-local (RFC 9568
//     §5.2.9). An advertisement that breaks this is accepted, as erratum 8300
//     asks; [Advertisement.LinkLocalFirst] reports it.
//   - Reserved bits and, with authentication type 0, the authentication data
//     are ignored when received and zero when sent (RFC 9568 §5.2.6, RFC 3768
//     §5.3.10).
//   - Octets after the message are refused. A raw socket has already cut the
//     padding of the link layer; what remains is a trailer that nobody
//     announced, such as keepalived's auth_hmac.
package vrrp
