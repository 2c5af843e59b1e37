// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A fenceTable is an nftables table that lets packets of its addresses pass while
// one of its two slots is open for them, and rejects them otherwise. Each method
// that writes is one transaction.
//
// There are two slots so that no renewal touches what keeps the fence open. In a
// transaction that replaces an element, a kernel before 6.17 may for an instant
// find neither the old one nor the new, and the reset that this would cause cannot
// be taken back.
type fenceTable interface {
	// replace puts the table in place of whatever has its name, with the slot
	// open for the timeout and the other closed.
	replace(slot int, timeout time.Duration) error
	// open opens the slot for the timeout from now. With alone, it closes the
	// other. The error is errNoFence if the table lacks something.
	open(slot int, timeout time.Duration, alone bool) error
	// left returns for how long the slot is still open, or 0 if it is not open
	// for all addresses.
	left(slot int) (time.Duration, error)
	// whole reports whether the rules are those that replace has written.
	whole() (bool, error)
	// cut closes both slots. It is no error if there is no table.
	cut() error
	// remove removes the table. It is no error if there is none.
	remove() error
	// close gives up what is held open, and leaves the table.
	close() error
}

// errNoFence says that somebody removed the table, or a part of it.
var errNoFence = errors.New("no such table or set")

const opFence = "write session fence"

// nfgenmsgLen is the length in bytes of the struct nfgenmsg of linux/netfilter/nfnetlink.h.
const nfgenmsgLen = 4

// An nftTable is a fenceTable of the kernel.
type nftTable struct {
	ns       namespace
	table    *nftables.Table
	families []fenceFamily

	mu   sync.Mutex
	conn *nftables.Conn // nil: to be opened
	sock *netlink.Conn  // the socket of conn
	// rules is the kernel's listing of the rules after the last replace.
	rules [][]byte
}

func (k *linux) fenceTable(name string, addresses []netip.Addr) fenceTable {
	return &nftTable{
		ns:       k.ns,
		table:    &nftables.Table{Name: name, Family: nftables.TableFamilyINet},
		families: fenceFamilies(addresses),
	}
}

// do calls f with an open connection that answers in time, or not any more.
func (t *nftTable) do(f func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.dial()
	if err == nil {
		err = t.sock.SetDeadline(time.Now().Add(netlinkTimeout))
	}
	if err == nil {
		err = f()
	}
	if err != nil {
		// Answers may be outstanding that would be taken for those to the next request.
		t.hangUp()
		return fmt.Errorf("%s %s: %w", opFence, t.table.Name, err)
	}
	return nil
}

func (t *nftTable) dial() error {
	if t.conn != nil {
		return nil
	}
	return t.ns.do(func() (err error) {
		t.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
			t.sock = c
			return nil
		}))
		return err
	})
}

func (t *nftTable) hangUp() {
	if t.conn != nil {
		_ = t.conn.CloseLasting() // nothing is waiting to be written
	}
	t.conn, t.sock = nil, nil
}

func (t *nftTable) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hangUp()
	return nil
}

func (t *nftTable) replace(slot int, timeout time.Duration) error {
	ports, err := t.ephemeralPorts()
	if err != nil {
		return err
	}
	return t.do(func() error {
		// Deleting what is not there would undo the whole transaction.
		t.conn.AddTable(t.table)
		t.conn.DelTable(t.table)
		t.conn.AddTable(t.table)
		if err := t.addRules(ports); err != nil {
			return err
		}
		for _, f := range t.families {
			if err := t.conn.SetAddElements(t.slot(f, slot), f.elements(timeout)); err != nil {
				return err
			}
		}
		if err := t.conn.Flush(); err != nil {
			return err
		}
		t.rules, err = t.list()
		return err
	})
}

func (t *nftTable) open(slot int, timeout time.Duration, alone bool) error {
	return t.do(func() error {
		for _, f := range t.families {
			if alone {
				t.conn.FlushSet(t.slot(f, 1-slot))
			}
			// Removed and added, since adding alone leaves the timeout as it is
			// before Linux 6.12. Flushing is never refused, deleting is if there is
			// nothing.
			t.conn.FlushSet(t.slot(f, slot))
			if err := t.conn.SetAddElements(t.slot(f, slot), f.elements(timeout)); err != nil {
				return err
			}
		}
		err := t.conn.Flush()
		if errors.Is(err, unix.ENOENT) {
			return errors.Join(errNoFence, err)
		}
		return err
	})
}

func (t *nftTable) left(slot int) (time.Duration, error) {
	var left time.Duration
	err := t.do(func() error {
		left = 0
		for _, f := range t.families {
			open, err := t.conn.GetSetElements(t.slot(f, slot))
			if err != nil {
				return err
			}
			for _, want := range f.addresses {
				i := slices.IndexFunc(open, func(e nftables.SetElement) bool { return bytes.Equal(e.Key, want.AsSlice()) })
				if i < 0 {
					left = 0
					return nil
				}
				left = max(left, open[i].Expires)
			}
		}
		return nil
	})
	return left, err
}

func (t *nftTable) whole() (bool, error) {
	var whole bool
	err := t.do(func() error {
		rules, err := t.list()
		whole = err == nil && slices.EqualFunc(rules, t.rules, bytes.Equal)
		return err
	})
	return whole, err
}

// list returns the rules of the table as the kernel lists them. The handles in
// them tell a rule from the same one added again.
func (t *nftTable) list() ([][]byte, error) {
	name, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(t.table.Name + "\x00")}})
	if err != nil {
		return nil, err
	}
	messages, err := t.sock.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE,
			Flags: netlink.Request | netlink.Dump,
		},
		Data: append([]byte{byte(t.table.Family), unix.NFNETLINK_V0, 0, 0}, name...),
	})
	if err != nil {
		return nil, err
	}
	var rules [][]byte
	for _, m := range messages {
		if len(m.Data) < nfgenmsgLen {
			return nil, fmt.Errorf("parse rule message of %d bytes: too short", len(m.Data))
		}
		// The header has a number of the whole ruleset's.
		rules = append(rules, m.Data[nfgenmsgLen:])
	}
	return rules, nil
}

func (t *nftTable) cut() error {
	// Undoing a transaction that fails takes the kernel some 10 ms.
	var rules [][]byte
	err := t.do(func() (err error) {
		rules, err = t.list()
		return err
	})
	if err == nil && len(rules) == 0 {
		return nil
	}
	errs := []error{err}
	// One transaction for each, since an earlier process may have had another family.
	for _, f := range t.families {
		err := t.do(func() error {
			t.conn.FlushSet(t.slot(f, 0))
			t.conn.FlushSet(t.slot(f, 1))
			return t.conn.Flush()
		})
		if !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (t *nftTable) remove() error {
	err := t.do(func() error {
		t.conn.DelTable(t.table)
		return t.conn.Flush()
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// ephemeralPorts returns the first of the local ports that the kernel chooses for
// clients (ip_local_port_range in ip-sysctl), which IPv6 shares.
func (t *nftTable) ephemeralPorts() (uint16, error) {
	var text []byte
	err := t.ns.do(func() (err error) {
		// /proc/sys/net is that of the thread that opens the file.
		text, err = os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read local port range: %w", err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\t")
	port, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("read local port range: %w", err)
	}
	return uint16(max(port, 1)), nil
}
