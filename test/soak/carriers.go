// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"highwater/mysqlcheck"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// carriers looks all the while at which hosts have the VIP, as the kernel of each says.
type carriers struct {
	c      *cluster.Cluster
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	sight []sight
}

// sight is one look in which some host had the VIP; at is a reading of CLOCK_BOOTTIME.
type sight struct {
	at   time.Duration
	have []string // with a server that runs: one that is dead can acknowledge nothing
}

// lookPause is what lies between two looks.
const lookPause = 30 * time.Millisecond

func watchCarriers(c *cluster.Cluster) *carriers {
	ctx, cancel := context.WithCancel(context.Background())
	w := &carriers{c: c, cancel: cancel}
	w.done.Go(func() {
		for ; ctx.Err() == nil; pause(ctx, lookPause) {
			s := sight{at: mysqlcheck.Boottime()}
			for _, h := range c.Hosts() {
				// An error says that the host is just being switched off.
				if has, err := h.Carries(lab.VIP); err == nil && has && h.Server.Alive() {
					s.have = append(s.have, h.Name())
				}
			}
			w.mu.Lock()
			w.sight = append(w.sight, s)
			w.mu.Unlock()
		}
	})
	return w
}

// stop ends the looks; stopping again does nothing.
func (w *carriers) stop() []sight {
	w.cancel()
	w.done.Wait()
	return w.sight
}

// twice is for how long in all two hosts had the VIP.
func twice(sights []sight) time.Duration {
	var sum time.Duration
	for i := 1; i < len(sights); i++ {
		if len(sights[i].have) > 1 && len(sights[i-1].have) > 1 {
			sum += sights[i].at - sights[i-1].at
		}
	}
	return sum
}

// strays are the hosts but one that had the VIP after an instant.
func strays(sights []sight, but string, after time.Duration) []string {
	var hosts []string
	for _, s := range sights {
		for _, h := range s.have {
			if s.at > after && h != but && !slices.Contains(hosts, h) {
				hosts = append(hosts, h)
			}
		}
	}
	return hosts
}
