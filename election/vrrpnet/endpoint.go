// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"highwater/election/vrrp"
)

// A datagram is what a network knows of one received packet.
type datagram struct {
	payload             []byte
	source, destination netip.Addr
	ttl                 int
	ifIndex             int
}

// An endpoint is the half of a Conn that does not depend on the network below:
// encoding, the checks, the counters.
type endpoint struct {
	cfg      Config
	ifIndex  int
	source   atomic.Pointer[netip.Addr]
	counters counters
}

func (e *endpoint) Source() netip.Addr { return *e.source.Load() }

func (e *endpoint) Counters() Counters { return e.counters.read() }

// destinations returns where an advertisement goes.
func (e *endpoint) destinations() []netip.Addr {
	if e.cfg.unicast() {
		return e.cfg.Peers
	}
	return []netip.Addr{e.cfg.Family.group()}
}

// encode appends to b the message that carries a to dst.
func (e *endpoint) encode(b []byte, a *vrrp.Advertisement, src, dst netip.Addr) ([]byte, error) {
	out := *a // shares the addresses, which are only read
	out.Version, out.VRID = e.cfg.Version, e.cfg.VRID
	out.AuthType, out.AuthData = e.cfg.AuthType, e.cfg.AuthData
	return out.AppendTo(b, src, dst, e.cfg.Checksum)
}

// accept checks d, received at now, counts it, and reports whether p holds an
// advertisement for the caller.
func (e *endpoint) accept(d datagram, now time.Duration, p *Packet) bool {
	if reason := e.check(d, p); reason != 0 {
		e.counters.dropped[reason].Add(1)
		return false
	}
	p.Source, p.Destination, p.Received = d.source, d.destination, now
	e.counters.accepted.Add(1)
	if e.cfg.Family == IPv4 && e.cfg.Version == vrrp.V3 && p.Dialect == vrrp.ChecksumRFC9568 {
		e.counters.acceptedRFC9568.Add(1)
	}
	if e.cfg.Family == IPv6 && !p.Advertisement.LinkLocalFirst() {
		e.counters.acceptedNotLinkLocal.Add(1)
	}
	return true
}

// check decodes d into p and returns the first reason against it, or 0.
//
// The VRID comes early, before the checksum has vouched for it: what is meant
// for another virtual router, whose version, password or sources may well be
// others, must not count as a fault of ours.
func (e *endpoint) check(d datagram, p *Packet) vrrp.Reason {
	cfg := &e.cfg
	switch {
	case d.ifIndex != e.ifIndex:
		return vrrp.ReasonInterface
	case len(d.payload) >= 2 && d.payload[1] != cfg.VRID:
		return vrrp.ReasonOtherVRID
	case d.ttl < cfg.minTTL():
		return vrrp.ReasonTTL
	case cfg.unicast() && d.destination.IsMulticast(), !cfg.unicast() && d.destination != cfg.Family.group():
		return vrrp.ReasonDestination
	case d.source == e.Source():
		return vrrp.ReasonOwnSource
	case cfg.unicast() && !slices.Contains(cfg.Peers, d.source):
		return vrrp.ReasonSource
	case len(cfg.AcceptFrom) > 0 && !slices.Contains(cfg.AcceptFrom, d.source):
		return vrrp.ReasonSource
	}
	a := &p.Advertisement
	dialect, err := a.Parse(d.payload, d.source, d.destination)
	if err != nil {
		return err.(vrrp.Reason) // Parse returns nothing else
	}
	p.Dialect = dialect
	switch {
	case a.Version != cfg.Version:
		return vrrp.ReasonOtherVersion
	case a.AuthType != cfg.AuthType:
		return vrrp.ReasonAuthType
	case a.AuthData != cfg.AuthData:
		return vrrp.ReasonAuthData
	case a.Version == vrrp.V2 && cfg.Interval != 0 && a.Interval != cfg.Interval:
		return vrrp.ReasonInterval
	}
	return 0
}
