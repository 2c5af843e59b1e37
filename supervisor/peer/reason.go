// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

// Reason says why a connection or a message came to nothing. The vocabulary is closed; values are metric labels.
type Reason string

// Reasons for which a server refuses a connection. The first two groups also occur at a client.
const (
	ReasonPlaintext          Reason = "plaintext"            // the other side does not speak TLS
	ReasonTLSVersion         Reason = "tls_version"          // it offers nothing newer than TLS 1.2
	ReasonNoCertificate      Reason = "no_certificate"       // it presents none
	ReasonWrongCertificate   Reason = "wrong_certificate"    // signed by a stranger: another secret, another cluster name, another CA
	ReasonUnknownNode        Reason = "unknown_node"         // its name is not the one expected, or not configured
	ReasonSelf               Reason = "self"                 // it carries our own name
	ReasonAmbiguousNode      Reason = "ambiguous_node"       // its certificate names several nodes
	ReasonRefusedByPeer      Reason = "refused_by_peer"      // it refused us: the same faults seen from the other side
	ReasonHandshake          Reason = "handshake"            // any other failure before the first message
	ReasonTimeout            Reason = "timeout"              // no answer within the deadline
	ReasonClosed             Reason = "closed"               // closed or reset by the other side
	ReasonTooManyConnections Reason = "too_many_connections" // this remote, or all strangers together, hold too many
)

// Reasons for which a server refuses a message.
const (
	ReasonWrongCluster Reason = "wrong_cluster" // it names another cluster
	ReasonWrongNode    Reason = "wrong_node"    // it speaks for a node that its certificate does not name
	ReasonBadMessage   Reason = "bad_message"   // not decodable, or not allowed values
	ReasonTooLarge     Reason = "too_large"     // longer than MaxBody
	ReasonStale        Reason = "stale"         // older than what was heard before
	ReasonNotFound     Reason = "not_found"     // no such message
)

// Further reasons for which an exchange of a client fails.
const (
	ReasonRefusedDial  Reason = "connection_refused" // nothing listens there
	ReasonUnreachable  Reason = "unreachable"        // no route, no neighbour
	ReasonLocalAddress Reason = "local_address"      // our own address is not on this host
	ReasonCanceled     Reason = "canceled"           // given up by the caller
	ReasonOther        Reason = "other"
)

// Reasons for which a client drops a raft message, beside those for which its connection fails.
const (
	ReasonQueueFull Reason = "queue_full" // newer ones took its place
	ReasonLate      Reason = "late"       // it waited too long for a connection
)

var serverReasons = []Reason{
	ReasonPlaintext, ReasonTLSVersion, ReasonNoCertificate, ReasonWrongCertificate, ReasonUnknownNode, ReasonSelf, ReasonAmbiguousNode,
	ReasonRefusedByPeer, ReasonHandshake, ReasonTimeout, ReasonClosed, ReasonTooManyConnections, ReasonWrongCluster, ReasonWrongNode,
	ReasonBadMessage, ReasonTooLarge, ReasonStale, ReasonNotFound,
}

var clientReasons = append([]Reason{ReasonRefusedDial, ReasonUnreachable, ReasonLocalAddress, ReasonCanceled, ReasonOther}, serverReasons...)

var raftDropReasons = []Reason{
	ReasonQueueFull, ReasonLate, ReasonTooLarge, ReasonBadMessage, ReasonTimeout, ReasonClosed, ReasonCanceled, ReasonOther,
}

// Error is a failure with its Reason. When Remote is set the other side answered, and refused.
type Error struct {
	Reason Reason
	Remote bool
	Err    error
}

func (e *Error) Error() string {
	if e.Remote {
		return fmt.Sprintf("refused by peer (%s): %v", e.Reason, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Reason, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// refuse builds an Error that has not crossed the wire.
func refuse(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Err: fmt.Errorf(format, args...)}
}

// ReasonOf classifies any error of this package.
func ReasonOf(err error) Reason {
	var own *Error
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &own):
		return own.Reason
	case errors.As(err, &record):
		return ReasonPlaintext
	case errors.Is(err, context.Canceled):
		return ReasonCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return ReasonTimeout
	case errors.As(err, &op) && op.Op == "remote error": // how crypto/tls reports an alert
		return ReasonRefusedByPeer
	case errors.Is(err, syscall.ECONNREFUSED):
		return ReasonRefusedDial
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return ReasonUnreachable
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return ReasonLocalAddress
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ReasonClosed
	}
	return ReasonOther
}

// counters counts by reason. The set of reasons is fixed when it is made, so it needs no lock and every label exists from the start.
type counters map[Reason]*atomic.Uint64

func newCounters(reasons []Reason) counters {
	c := make(counters, len(reasons))
	for _, r := range reasons {
		c[r] = new(atomic.Uint64)
	}
	return c
}

// add counts r, or other where r is not of this set.
func (c counters) add(r, other Reason) {
	n, ok := c[r]
	if !ok {
		n = c[other]
	}
	n.Add(1)
}

func (c counters) read() map[Reason]uint64 {
	m := make(map[Reason]uint64, len(c))
	for r, n := range c {
		m[r] = n.Load()
	}
	return m
}
