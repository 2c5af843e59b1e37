// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Lengths in bytes of the structures of linux/inet_diag.h.
const (
	sockIDLen      = 48 // struct inet_diag_sockid
	diagRequestLen = 8 + sockIDLen
	diagMessageLen = 4 + sockIDLen + 20 // struct inet_diag_msg
)

// sessionStates are the TCP states, as bits, of sockets that carry a session or
// are about to. Not among them are LISTEN (see the package comment), TIME_WAIT
// (the session is over, and kernels before 6.5 refuse) and CLOSE.
const sessionStates = 1<<unix.BPF_TCP_ESTABLISHED |
	1<<unix.BPF_TCP_SYN_SENT |
	1<<unix.BPF_TCP_SYN_RECV |
	1<<unix.BPF_TCP_FIN_WAIT1 |
	1<<unix.BPF_TCP_FIN_WAIT2 |
	1<<unix.BPF_TCP_CLOSE_WAIT |
	1<<unix.BPF_TCP_LAST_ACK |
	1<<unix.BPF_TCP_CLOSING |
	1<<unix.BPF_TCP_NEW_SYN_RECV

// A diagRequest is the struct inet_diag_req_v2 for TCP. The netlink package has
// one too, but does not let IPv6 sockets be destroyed.
type diagRequest struct {
	family uint8
	states uint32
	id     [sockIDLen]byte
}

func (r diagRequest) Len() int { return diagRequestLen }

func (r diagRequest) Serialize() []byte {
	b := make([]byte, 0, diagRequestLen)
	b = append(b, r.family, unix.IPPROTO_TCP, 0, 0) // extensions, padding
	b = binary.NativeEndian.AppendUint32(b, r.states)
	return append(b, r.id[:]...)
}

func (k *linux) sockets(port uint16) ([]socket, error) {
	var list []socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		var found []socket
		err := dump(func() error {
			found = found[:0]
			r := diagRequest{family: family, states: sessionStates}
			binary.BigEndian.PutUint16(r.id[:2], port)
			req := request(unix.NETLINK_SOCK_DIAG, k.diag, unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
			req.AddData(r)
			var perr error
			err := req.ExecuteIter(unix.NETLINK_SOCK_DIAG, unix.SOCK_DIAG_BY_FAMILY, func(m []byte) bool {
				var s socket
				if s, perr = parseSocket(m); perr == nil {
					found = append(found, s)
				}
				return perr == nil
			})
			if perr != nil {
				return perr
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", opSockets, err)
		}
		list = append(list, found...)
	}
	return list, nil
}

// parseSocket parses a struct inet_diag_msg.
func parseSocket(b []byte) (socket, error) {
	if len(b) < diagMessageLen {
		return socket{}, fmt.Errorf("parse socket message of %d bytes: too short", len(b))
	}
	s := socket{family: b[0]}
	copy(s.id[:], b[4:])
	n := 4
	if s.family == unix.AF_INET6 {
		n = 16
	}
	ip, _ := netip.AddrFromSlice(s.id[4 : 4+n])
	s.local = netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(s.id[:2]))
	return s, nil
}

func (k *linux) destroy(s socket) error {
	req := request(unix.NETLINK_SOCK_DIAG, k.diag, nl.SOCK_DESTROY, unix.NLM_F_ACK)
	req.AddData(diagRequest{family: s.family, id: s.id})
	_, err := req.Execute(unix.NETLINK_SOCK_DIAG, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESTALE) {
		return fmt.Errorf("%s at %s: %w", opDestroy, s.local, err)
	}
	return nil
}
