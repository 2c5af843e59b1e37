// SPDX-License-Identifier: Apache-2.0

package vrrpnet

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"

	"highwater/election/vrrp"
)

// Counters are the counts of one Conn. With unicast peers, each peer's packet
// counts.
type Counters struct {
	// Sent packets.
	Sent uint64
	// SendDenied counts packets refused with EPERM or EACCES: a firewall or a
	// prohibiting route on this host.
	SendDenied uint64
	// SendNoBuffers counts packets for which no buffer space was left. What the
	// queue of the interface drops is not seen here: the kernel hides it from a
	// raw socket.
	SendNoBuffers uint64
	// SendFailed counts packets not sent for another cause: no route, link down,
	// source address removed, an advertisement that cannot be encoded.
	SendFailed uint64

	// Accepted packets, those that Receive returned.
	Accepted uint64
	// AcceptedRFC9568 are those of version 3 over IPv4 whose checksum had no
	// pseudo-header.
	AcceptedRFC9568 uint64
	// AcceptedNotLinkLocal are those over IPv6 whose first address was not
	// link-local, against RFC 9568 §5.2.9.
	AcceptedNotLinkLocal uint64
	// Dropped packets by reason.
	Dropped [vrrp.NumReasons]uint64
}

// DroppedTotal returns how many packets were dropped, those meant for other
// virtual routers included.
func (c *Counters) DroppedTotal() uint64 {
	var n uint64
	for _, d := range c.Dropped {
		n += d
	}
	return n
}

// counters is what Counters is read from.
type counters struct {
	sent, sendDenied, sendNoBuffers, sendFailed     atomic.Uint64
	accepted, acceptedRFC9568, acceptedNotLinkLocal atomic.Uint64
	dropped                                         [vrrp.NumReasons]atomic.Uint64
}

func (c *counters) read() Counters {
	out := Counters{
		Sent:                 c.sent.Load(),
		SendDenied:           c.sendDenied.Load(),
		SendNoBuffers:        c.sendNoBuffers.Load(),
		SendFailed:           c.sendFailed.Load(),
		Accepted:             c.accepted.Load(),
		AcceptedRFC9568:      c.acceptedRFC9568.Load(),
		AcceptedNotLinkLocal: c.acceptedNotLinkLocal.Load(),
	}
	for r := range c.dropped {
		out.Dropped[r] = c.dropped[r].Load()
	}
	return out
}

// countSend counts the outcome of sending one packet.
func (c *counters) countSend(err error) {
	switch {
	case err == nil:
		c.sent.Add(1)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		c.sendDenied.Add(1)
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, os.ErrDeadlineExceeded):
		c.sendNoBuffers.Add(1)
	default:
		c.sendFailed.Add(1)
	}
}
