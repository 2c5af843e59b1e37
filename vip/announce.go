// SPDX-License-Identifier: Apache-2.0

package vip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// An announcement is one run of the schedule of announcements, from the first
// frame until it is canceled.
type announcement struct {
	cfg    Config
	kernel kernel
	// previous is the run that this one follows, if any. It is canceled already.
	previous *announcement

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when no frame of this run or an earlier one follows
}

func newAnnouncement(cfg Config, k kernel, previous *announcement) *announcement {
	a := &announcement{cfg: cfg, kernel: k, previous: previous, done: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// first sends frame 0 for every address on the link, without waiting for
// anything but the device's queue, and leaves the rest to a goroutine. An error
// means that nothing more will be sent.
func (a *announcement) first(on link) error {
	err := a.send(on, 0)
	if transient(err) {
		// The next frame follows soon.
		a.cfg.Log.Warn("announce virtual addresses", "interface", on.name, "error", err)
		err = nil
	}
	if err != nil {
		a.cancel()
	}
	go a.run(1)
	return err
}

// run sends the frames from n on when they are due, until it is canceled.
func (a *announcement) run(n int) {
	defer close(a.done)
	if a.previous != nil {
		<-a.previous.done
		a.previous = nil // or every run would keep all that were before it
	}
	start := time.Now()
	failing := false
	for ; ; n++ {
		due, ok := a.cfg.Announce.at(n)
		if !ok {
			return
		}
		timer := time.NewTimer(time.Until(start.Add(due)))
		select {
		case <-timer.C:
		case <-a.ctx.Done():
			timer.Stop()
			return
		}
		// The interface may have a new index or a new hardware address by now.
		on, err := a.kernel.link(a.cfg.Interface)
		if err == nil {
			err = a.send(on, n)
		}
		if err != nil && !failing {
			a.cfg.Log.Warn("announce virtual addresses", "interface", a.cfg.Interface, "error", err)
		}
		failing = err != nil
	}
}

// send sends frame n for every address on the link, and stops early if it is
// canceled.
func (a *announcement) send(on link, n int) error {
	if !on.announces() {
		return nil
	}
	op := uint16(arpRequest)
	if n%2 == 1 {
		op = arpReply
	}
	var errs []error
	var router bool
	if slices.ContainsFunc(a.cfg.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		var err error
		router, err = a.kernel.forwards(on.name)
		errs = append(errs, err)
	}
	buf := make([]byte, 0, max(arpFrameLen, naFrameLen))
	for _, p := range a.cfg.Addresses {
		if a.ctx.Err() != nil {
			break
		}
		var frame []byte
		var dst net.HardwareAddr
		if p.Addr().Is4() {
			frame, dst = appendARP(buf, op, on.mac, p.Addr()), broadcastMAC
		} else {
			frame, dst = appendNA(buf, on.mac, p.Addr(), router), allNodesMAC
		}
		errs = append(errs, a.kernel.send(on.index, dst, frame))
	}
	return errors.Join(errs...)
}

// transient reports whether a frame could not be sent only because the device's
// queue was full.
func transient(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) || errors.Is(err, os.ErrDeadlineExceeded)
}
