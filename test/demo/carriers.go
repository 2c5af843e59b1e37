// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"highwater/mysqlcheck"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// watchInterval is the grain of what the watch sees.
const watchInterval = 10 * time.Millisecond

// watch looks from outside, whatever the supervisors say, which hosts have the VIP on their
// interface.
type watch struct {
	mu     sync.Mutex
	marks  []mark
	now    []string
	double time.Duration // time in which several hosts carried it
	err    error

	cancel context.CancelFunc
	done   chan struct{}
}

func startWatch(c *cluster.Cluster) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		last := mysqlcheck.Boottime()
		for ctx.Err() == nil {
			carriers, err := c.Carriers(lab.VIP)
			at := mysqlcheck.Boottime()
			w.see(last, at, names(carriers), err)
			last = at
			select {
			case <-ctx.Done():
			case <-time.After(watchInterval):
			}
		}
	}()
	return w
}

// see takes in one look; the one before was at last.
func (w *watch) see(last, at time.Duration, carriers []string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err = err; err != nil { // a host that is being switched on or off; the next look tells
		return
	}
	if len(w.now) > 1 {
		w.double += at - last
	}
	if slices.Equal(carriers, w.now) {
		return
	}
	w.now = carriers
	m := mark{at: at, host: "switch", sgr: sgrDim, text: "nobody carries the VIP"}
	switch len(carriers) {
	case 0:
	case 1:
		m.text = carriers[0] + " alone carries the VIP"
	default:
		m.text, m.sgr = strings.Join(carriers, " and ")+" carry the VIP", sgrYellow
	}
	w.marks = append(w.marks, m)
}

// seen returns the changes at and after from, and how long several hosts carried the VIP.
func (w *watch) seen(from time.Duration) ([]mark, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var marks []mark
	for _, m := range w.marks {
		if m.at >= from {
			marks = append(marks, m)
		}
	}
	return marks, w.double
}

// stop ends the watch; the error is that of its last look.
func (w *watch) stop() error {
	w.cancel()
	<-w.done
	return w.err
}

func names(hosts []*lab.Host) []string {
	list := make([]string, 0, len(hosts))
	for _, h := range hosts {
		list = append(list, h.Name())
	}
	return list
}
