// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"highwater/election"
)

// orderRetry is how often an order on the cluster record is given until a leader has carried it out.
const orderRetry = 300 * time.Millisecond

// pause gives the order to pause failovers, and after d that to resume.
func (w *World) pause(d time.Duration) {
	end := w.now.add(d)
	w.orderOnRecord(func(r election.ClusterRecord) (election.ClusterRecord, error) {
		if w.healed || w.now >= end {
			return r, nil // too late
		}
		return r.Pause(election.Pause{By: "operator", Since: w.wall()})
	})
	w.after(d, w.resume)
}

// resume gives the order to resume.
func (w *World) resume() {
	w.orderOnRecord(func(r election.ClusterRecord) (election.ClusterRecord, error) {
		if r.Paused == nil {
			return r, nil
		}
		return r.Resume()
	})
}

// orderOnRecord has whoever leads change the record, as supervisor.orderOnRecord does.
func (w *World) orderOnRecord(next func(election.ClusterRecord) (election.ClusterRecord, error)) {
	done := false
	for _, h := range w.hosts {
		s := h.supervisor
		if s == nil || s.voter == nil || s.voter.core.Leader() != h.name || s.stopped() {
			continue
		}
		s.voter.change(next, func(err string) { done = done || err == "" })
	}
	w.after(orderRetry, func() {
		if !done {
			w.orderOnRecord(next)
		}
	})
}

// change proposes what next makes of the record.
func (v *voter) change(next func(election.ClusterRecord) (election.ClusterRecord, error), ended func(err string)) {
	v.do(func() {
		record, err := next(v.record)
		switch {
		case err != nil:
			ended(err.Error())
		case record.Revision == v.record.Revision:
			ended("")
		default:
			v.propose(record, ended)
		}
	})
}
