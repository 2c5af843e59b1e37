// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"highwater/election"
)

// reaches reports whether packets get from one host to another now.
func (w *World) reaches(from, to *host) bool {
	return from.powered && to.powered && from.link && to.link && !w.cut[from.index][to.index]
}

// advert sends a VRRP advertisement to everybody: it may be lost.
func (w *World) advert(from *host, priority uint8) {
	w.adverts[from.index] = priority
	for _, to := range w.hosts {
		if to == from || !w.reaches(from, to) || w.chance(w.loss) {
			continue
		}
		w.after(w.between(50*time.Microsecond, w.delay), func() {
			if w.reaches(from, to) && to.supervisor != nil {
				to.supervisor.post(election.AdvertReceived{
					Advert: election.Advert{Source: from.addr, Priority: priority, Interval: w.cfg.Interval},
					Node:   from.name,
				})
			}
		})
	}
}

// retransmit is the pause after which TCP sends again what was lost.
const retransmit = 200 * time.Millisecond

// deliver brings a message over the peer channel: late when packets are lost, never while
// they do not pass in both directions.
func (w *World) deliver(from, to *host, f func(*supervisor)) {
	d := w.between(100*time.Microsecond, w.delay)
	for w.chance(w.loss) {
		d += retransmit
	}
	w.after(d, func() {
		if w.reaches(from, to) && w.reaches(to, from) && to.supervisor != nil {
			f(to.supervisor)
		}
	})
}
