// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"highwater/test/lab"
)

// observer looks all the while at which hosts carry the VIP, as the kernel of each has it.
type observer struct {
	lab     *lab.Lab
	address netip.Addr
	cancel  context.CancelFunc
	done    sync.WaitGroup
	looking sync.RWMutex // held for writing while a host is switched on or off

	mu       sync.Mutex
	spans    []span
	wrong    []string // what must never be seen
	excepted *lab.Host
}

// span is a stretch in which a host carried the VIP and had a server, within the grain of the
// looks.
type span struct {
	host     string
	from, to time.Time
	open     bool
}

// look is the pause between two looks at all hosts.
const look = 25 * time.Millisecond

func observe(l *lab.Lab, address netip.Addr) *observer {
	ctx, cancel := context.WithCancel(context.Background())
	o := &observer{lab: l, address: address, cancel: cancel}
	o.done.Go(func() {
		for ctx.Err() == nil {
			for _, h := range l.Hosts() {
				o.host(ctx, h)
			}
			select {
			case <-ctx.Done():
			case <-time.After(look):
			}
		}
	})
	return o
}

// exempt lets a host carry the VIP without having been promoted.
func (o *observer) exempt(h *lab.Host) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.excepted = h
}

func (o *observer) stop() {
	o.cancel()
	o.done.Wait()
}

// host looks at one host.
func (o *observer) host(ctx context.Context, h *lab.Host) {
	at := time.Now()
	carries := o.carries(h)
	o.mu.Lock()
	current := o.current(h.Name())
	switch {
	case carries && current != nil && !h.Server.Alive():
		// vip.linger: an address without a server, which acknowledges nothing, may meet its successor's.
	case carries && current != nil && !h.Server.Alive():
		// It keeps the VIP for vip.linger, so that the kernel refuses connections, and can
		// acknowledge nothing: that is no second carrier.
	case carries && current != nil:
		current.to = time.Now()
	case carries:
		o.spans = append(o.spans, span{host: h.Name(), from: at, to: time.Now(), open: true})
	case current != nil:
		current.open = false
	}
	o.mu.Unlock()
	if carries && current == nil {
		o.done.Go(func() { o.judge(ctx, h) })
	}
}

// carries asks the kernel of a host; one that is off carries nothing.
func (o *observer) carries(h *lab.Host) bool {
	o.looking.RLock()
	defer o.looking.RUnlock()
	carries, err := h.Carries(o.address)
	return err == nil && carries
}

func (o *observer) current(host string) *span {
	for i := range o.spans {
		if o.spans[i].host == host && o.spans[i].open {
			return &o.spans[i]
		}
	}
	return nil
}

// judge asks the server of a host that got the VIP just now whether it was promoted.
func (o *observer) judge(ctx context.Context, h *lab.Host) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	readOnly, err := h.Server.QueryString(ctx, "SELECT @@global.read_only")
	if err != nil || readOnly == "0" {
		return // it died since, or is what it should be
	}
	if o.carries(h) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if h != o.excepted {
			o.wrong = append(o.wrong, fmt.Sprintf("%s carries the VIP and its server is read-only", h))
		}
	}
}

// overlaps are the pairs of hosts that carried the VIP at one time.
func (o *observer) overlaps() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []string
	for i, a := range o.spans {
		for _, b := range o.spans[i+1:] {
			if a.host == b.host {
				continue
			}
			from, to := b.from, a.to
			if b.to.Before(to) {
				to = b.to
			}
			if a.from.After(from) {
				from = a.from
			}
			// Two hosts are not looked at in one instant.
			if d := to.Sub(from); d > 2*look {
				list = append(list, fmt.Sprintf("%s and %s for %v", a.host, b.host, d.Round(time.Millisecond)))
			}
		}
	}
	return list
}

func (o *observer) violations() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.wrong...)
}
