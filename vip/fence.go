// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A SessionFence says whether a Manager uses nftables as a second dead-man's
// switch; the package comment says what for.
type SessionFence string

// Possible values of a SessionFence.
const (
	// FenceAuto: used where the kernel and the rights of the process allow it.
	// Where they do not, that is logged and Manager.Fence says why.
	FenceAuto SessionFence = "auto"
	// FenceNFT: used, or New returns an error.
	FenceNFT SessionFence = "nft"
	// FenceNone: not used. A fence that an earlier process left is removed by New.
	FenceNone SessionFence = "none"
)

// FenceGrain is how long after the end of a lease a packet may still pass an
// active fence: the kernel compares in ticks of up to 10 ms, and a packet that has
// passed may still be on its way to the device.
const FenceGrain = 50 * time.Millisecond

const (
	// fenceSlack is how much later than asked for the fence may end by what was
	// read back. More than that, and it is set again.
	fenceSlack = 10 * time.Millisecond
	// fenceAttempts bounds how often it is set again in one renewal.
	fenceAttempts = 3
)

// A FenceState is what Manager.Fence returns.
type FenceState struct {
	// Active says that every lease of this Manager is fenced: the host stops
	// serving its addresses within Grain after the end of the lease, although the
	// kernel removes them up to a second later. It does not change after New.
	Active bool
	// Grain is FenceGrain, or 0 if the fence is not active.
	Grain time.Duration
	// Table is the name of the nftables table, which is of family inet.
	Table string
	// Restored counts how often somebody else had removed or changed the fence
	// and it was put back. Until that, for a third of a lease as renewals go, a
	// frozen supervisor's addresses end with the kernel's own precision.
	Restored uint64
	// Err is why the fence is not active; nil if it was not to be.
	Err error
}

// Fence returns the state of the session fence.
func (m *Manager) Fence() FenceState {
	s := FenceState{Table: fenceTableName(m.cfg), Err: m.fenceErr}
	if m.fence != nil {
		s.Active, s.Grain, s.Restored = true, FenceGrain, m.fence.restored.Load()
	}
	return s
}

// fenceTableName returns the name of the table, in what nft(8) takes for a word.
func fenceTableName(c Config) string {
	name := "highwater_" + c.Interface
	if c.Instance != "" {
		name += "_" + c.Instance
	}
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

// Addresses for the trial of the fence, which belong to nobody (RFC 5737, RFC 3849).
var trialAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

// openFence decides whether the fence is used. What is in place of an earlier
// process stays as it is: its lease may still run.
func (m *Manager) openFence() error {
	name := fenceTableName(m.cfg)
	addresses := make([]netip.Addr, len(m.cfg.Addresses))
	for i, p := range m.cfg.Addresses {
		addresses[i] = p.Addr()
	}
	table := m.kernel.fenceTable(name, addresses)
	if m.cfg.SessionFence != FenceNone {
		trial := m.kernel.fenceTable(name+"_trial", trialAddresses)
		err := errors.Join(tryFence(trial), trial.close())
		if err == nil {
			m.fence = &fence{table: table, now: m.cfg.Now, log: m.cfg.Log}
			return nil
		}
		m.fenceErr = fmt.Errorf("set up session fence: %w", err)
		if m.cfg.SessionFence == FenceNFT {
			return errors.Join(m.fenceErr, table.close())
		}
		m.cfg.Log.Warn("session fence is not used", "table", name, "error", err)
	}
	// A rule that nobody opens any more would keep the addresses from being served.
	if err := table.remove(); err != nil && !cannotFence(err) {
		m.cfg.Log.Warn("remove session fence", "table", name, "error", err)
	}
	return table.close()
}

// closeFence removes the fence unless an address is still here, whose lease it
// then ends.
func (m *Manager) closeFence() error {
	if m.fence == nil {
		return nil
	}
	found, err := m.present()
	if err == nil && len(found) == 0 {
		err = m.fence.table.remove()
	}
	return errors.Join(err, m.fence.table.close())
}

// cannotFence reports whether the error says that there are no nftables here, or
// no right to use them.
func cannotFence(err error) bool {
	for _, errno := range []unix.Errno{unix.EPERM, unix.EACCES, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// tryFence does with a table for addresses of nobody all that a fence needs, and
// removes it.
func tryFence(table fenceTable) (err error) {
	defer func() {
		if rerr := table.remove(); err == nil {
			err = rerr
		}
	}()
	if err := table.replace(0, 20*time.Second); err != nil {
		return err
	}
	// The kernel has to take a new timeout for an element that is there: adding it
	// again does nothing before Linux 6.12.
	for _, timeout := range []time.Duration{20 * time.Second, 40 * time.Second} {
		if err := table.open(1, timeout, true); err != nil {
			return err
		}
		if left, err := table.left(1); err != nil || left > timeout || left < timeout/2+time.Second {
			return errors.Join(err, fmt.Errorf("set element times out in %s, want %s", left, timeout))
		}
	}
	if whole, err := table.whole(); err != nil || !whole {
		return errors.Join(err, errors.New("rules are not as they were written"))
	}
	if err := table.cut(); err != nil {
		return err
	}
	if left, err := table.left(1); err != nil || left != 0 {
		return errors.Join(err, fmt.Errorf("set element is still there for %s", left))
	}
	return nil
}

// A fence keeps the table of one Manager. Who calls its methods may write
// addresses (Manager.writes).
type fence struct {
	table fenceTable
	now   func() time.Duration
	log   *slog.Logger

	// written says that this process has written the table.
	written bool
	// slot is the one opened last; they take turns, see fenceTable.
	slot int
	// ends has when each slot closes at the latest, as a reading of now.
	ends     [2]time.Duration
	restored atomic.Uint64
}

// extend opens the fence until the instant, and puts it in place if it is not.
// When it returns nil, what was read back from the kernel ends by then.
func (f *fence) extend(until time.Duration) error {
	var late time.Duration
	for range fenceAttempts {
		timeout := (until - f.now() - late).Truncate(time.Millisecond)
		if timeout <= 0 {
			return fmt.Errorf("open session fence: lease has ended: %w", ErrLost)
		}
		if err := f.open(until, timeout); err != nil {
			return fmt.Errorf("open session fence: %w", err)
		}
		left, err := f.table.left(f.slot)
		if err != nil {
			return fmt.Errorf("read back session fence: %w", err)
		}
		end := f.now() + left
		f.ends[f.slot] = end
		if left > 0 && end <= until+fenceSlack {
			return nil
		}
		// Somebody removed what was written, or this process stood still between
		// the reading of the clock and the write, and may do so again.
		late = max(0, end-until)
	}
	return fmt.Errorf("open session fence: not as it should be after %d attempts, the last %s late", fenceAttempts, late)
}

// open opens the slot whose turn it is.
func (f *fence) open(until, timeout time.Duration) error {
	last := f.slot
	f.slot = 1 - last
	// An earlier lease may have been longer.
	alone := f.ends[last] > until
	if !f.written {
		// There may be the table of another process, with other addresses.
		return f.replace(timeout)
	}
	err := f.table.open(f.slot, timeout, alone)
	whole := false
	if err == nil {
		whole, err = f.table.whole()
	}
	switch {
	case err == nil && whole:
		return nil
	case err != nil && !errors.Is(err, errNoFence):
		return err
	}
	f.restored.Add(1)
	f.log.Warn("session fence was removed or changed by somebody else and is put back", "restored", f.restored.Load())
	return f.replace(timeout)
}

func (f *fence) replace(timeout time.Duration) error {
	if err := f.table.replace(f.slot, timeout); err != nil {
		return err
	}
	f.written = true
	f.ends[1-f.slot] = 0
	return nil
}

// cut ends all sessions now. It does nothing where no fence is in place: the
// addresses are about to go, and nobody else's are touched.
func (f *fence) cut() error {
	if err := f.table.cut(); err != nil {
		return fmt.Errorf("cut sessions: %w", err)
	}
	f.ends = [2]time.Duration{}
	return nil
}
