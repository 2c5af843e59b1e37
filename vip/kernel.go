// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"errors"
	"math"
	"net"
	"net/netip"
)

// A kernel is what this package asks of the operating system, one method for one
// operation, so that tests can make each of them fail, and so that they can run
// without privileges on a kernel in memory. Methods may be called from several
// goroutines. Their errors begin with the name of the operation.
type kernel interface {
	// link returns the interface with the name. The error is errNoLink if there
	// is none.
	link(name string) (link, error)
	// linkName returns the name of the interface with the index.
	linkName(index int) (string, error)
	// forwards reports whether IPv6 packets are forwarded from the interface.
	forwards(name string) (bool, error)
	// addresses returns the addresses of all interfaces in the kernel's order.
	addresses() ([]address, error)
	// put adds the address, or sets the lifetimes of the one that is there.
	put(address) error
	// remove removes the address. It is no error if that is gone already.
	remove(address) error
	// sockets returns the TCP sockets that carry a session, or are about to, and
	// have the local port, or any if that is 0.
	sockets(port uint16) ([]socket, error)
	// destroy aborts the socket's connection as if its peer had been sent a
	// reset, which happens if the local address is still there. It is no error if
	// the socket is gone already.
	destroy(socket) error
	// send sends an Ethernet frame from the interface. It does not wait longer
	// than sendTimeout.
	send(ifindex int, dst net.HardwareAddr, frame []byte) error
	// subscribe opens a subscription to changes of links and addresses.
	subscribe() (subscription, error)
	// fenceTable returns the session fence of the addresses, and changes nothing.
	// It is closed before the kernel is.
	fenceTable(name string, addresses []netip.Addr) fenceTable
	// close gives up everything that is held open, subscriptions excepted.
	close() error
}

// Names of the operations.
const (
	opLink      = "look up link"
	opLinkName  = "look up link name"
	opForwards  = "read forwarding"
	opAddresses = "list addresses"
	opPut       = "put address"
	opRemove    = "remove address"
	opSockets   = "list sockets"
	opDestroy   = "destroy socket"
	opSend      = "send announcement"
	opSubscribe = "subscribe to link and address changes"
	opReceive   = "receive link and address changes"
)

var errNoLink = errors.New("no such interface")

// A subscription delivers what the kernel reports, in its order.
type subscription interface {
	// receive waits for notices. After an error the subscription is of no use:
	// notices may have been lost.
	receive() ([]notice, error)
	// close ends a receive under way.
	close()
}

// A notice is one change that the kernel reports, of a link or of an address;
// the other of the two is nil.
type notice struct {
	link    *link
	address *address
	gone    bool // the link or the address was removed
}

// A link is what this package needs to know of an interface.
type link struct {
	index int
	name  string
	mac   net.HardwareAddr
	// up says that the interface is enabled, has a carrier and is operational or
	// does not say (RFC 2863; the kernel's operstates.rst).
	up bool
	// noARP says that the link knows no neighbors, so there is nobody to tell.
	noARP bool
}

// announces reports whether addresses can be announced on the link.
func (l link) announces() bool { return !l.noARP && len(l.mac) == 6 }

// forever is the lifetime of an address without one.
const forever = math.MaxUint32

// An address is one address of one interface as the kernel shows it.
type address struct {
	index     int // of the interface
	prefix    netip.Prefix
	label     string // IPv4 only
	scope     uint8
	flags     uint32
	protocol  uint8  // IFA_PROTO: who added it; 0: nobody said
	valid     uint32 // seconds left, rounded up, or forever
	preferred uint32 // likewise
	created   uint32 // hundredths of a second since boot
}

// A socket is a TCP socket as sock_diag(7) shows it.
type socket struct {
	family uint8
	local  netip.AddrPort // an IPv4 address is never in its IPv6-mapped form
	// id is the struct inet_diag_sockid, which includes a cookie: a later socket
	// between the same ports is another one.
	id [sockIDLen]byte
}
