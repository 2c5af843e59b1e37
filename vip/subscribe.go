// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// subscriptionBuffer is the size in bytes of the kernel's queue of notices that
// were not received yet. When it is full, the next receive fails with ENOBUFS.
const subscriptionBuffer = 1 << 20

// A netlinkSubscription is a socket that is a member of the groups of links and
// addresses (rtnetlink(7)).
type netlinkSubscription struct{ socket *nl.NetlinkSocket }

func (k *linux) subscribe() (subscription, error) {
	var s *nl.NetlinkSocket
	err := k.ns.do(func() (err error) {
		s, err = nl.Subscribe(unix.NETLINK_ROUTE,
			unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opSubscribe, err)
	}
	err = s.SetReceiveBufferSize(subscriptionBuffer, true)
	if err != nil {
		// Some containers may not exceed net.core.rmem_max.
		err = s.SetReceiveBufferSize(subscriptionBuffer, false)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", opSubscribe, err)
	}
	return netlinkSubscription{s}, nil
}

func (s netlinkSubscription) close() { s.socket.Close() }

func (s netlinkSubscription) receive() ([]notice, error) {
	messages, from, err := s.socket.Receive()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", opReceive, err)
	}
	if from.Pid != nl.PidKernel {
		// Any process may send to a netlink socket.
		return nil, nil
	}
	var notices []notice
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			if len(m.Data) < unix.SizeofIfInfomsg {
				return nil, fmt.Errorf("%s: %w", opReceive, errors.New("link message is too short"))
			}
			if nl.DeserializeIfInfomsg(m.Data).Family == unix.AF_BRIDGE {
				// About a port of a bridge: its DELLINK deletes no interface.
				continue
			}
			header := unix.NlMsghdr(m.Header)
			l, err := netlink.LinkDeserialize(&header, m.Data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", opReceive, err)
			}
			changed := newLink(l.Attrs())
			notices = append(notices, notice{link: &changed, gone: m.Header.Type == unix.RTM_DELLINK})
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			a, err := parseAddress(m.Data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", opReceive, err)
			}
			notices = append(notices, notice{address: &a, gone: m.Header.Type == unix.RTM_DELADDR})
		}
	}
	return notices, nil
}
