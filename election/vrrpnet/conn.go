// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"errors"
	"net/netip"
	"time"

	"highwater/election/vrrp"
)

// ErrInterfaceGone says that the interface of the Conn does not exist any
// more, or not yet. What remains is to close the Conn and call Listen again.
var ErrInterfaceGone = errors.New("interface gone")

// ErrNoSource says that the interface has no address that advertisements could
// be sent from.
var ErrNoSource = errors.New("no usable source address")

// A Packet is a received advertisement that passed every check.
type Packet struct {
	Advertisement vrrp.Advertisement
	Source        netip.Addr // without zone
	Destination   netip.Addr // without zone
	// Dialect is that of the checksum; of interest for version 3 over IPv4 only.
	Dialect vrrp.Checksum
	// Received is a reading of CLOCK_BOOTTIME: when this process took the
	// packet from the kernel. After a stall, packets that had waited in the
	// socket all carry the end of the stall.
	Received time.Duration
}

// A Conn sends and receives the advertisements of one virtual router. Its
// methods may be called from several goroutines, Receive from one at a time.
type Conn interface {
	// Send sends the priority, the interval and the addresses of a. Version,
	// VRID and authentication are those of the Config. With several unicast
	// peers every one is tried, and the errors are joined. A failure is counted
	// by its kind, see Counters. Send waits at most 20 ms per packet, for buffer
	// space.
	Send(a *vrrp.Advertisement) error
	// Receive waits for the next advertisement that passes every check and
	// stores it in p, whose memory it reuses. After Close it returns
	// net.ErrClosed, and ErrInterfaceGone within about a second after the
	// interface was removed. After any error p is undefined.
	Receive(p *Packet) error
	// Rejoin selects the source address anew, unless the Config names one, and
	// joins the multicast group again.
	Rejoin() error
	// Source returns the source address of what is sent.
	Source() netip.Addr
	// Counters returns the counts since the Conn was opened.
	Counters() Counters
	// Close closes the Conn; a waiting Receive returns net.ErrClosed.
	Close() error
}
