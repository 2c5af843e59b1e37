// SPDX-License-Identifier: Apache-2.0

package web

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcomes of a failover for [Metrics.Failover].
const (
	ResultDone    = "done"
	ResultUndone  = "undone"  // promotion began and was taken back
	ResultRefused = "refused" // a door was not passed
)

// Metrics counts what happens between two scrapes. Its methods may be called from any goroutine and never wait.
type Metrics struct {
	failovers *prometheus.CounterVec
	refusals  *prometheus.CounterVec
	doors     *prometheus.HistogramVec
	probe     prometheus.Histogram
	lateness  prometheus.Histogram
	lease     prometheus.Counter
}

// fast suits what takes from a tenth of a millisecond to seconds; slow what takes from milliseconds to the deadline of a promotion.
var (
	fast = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	slow = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}
)

// NewMetrics makes the counters and histograms, all at zero with every door's series present.
func NewMetrics() *Metrics {
	m := &Metrics{
		failovers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "highwater_failovers_total",
			Help: "Moves of the primary's role to this node that were begun, by cause, result (done, undone, refused) and the last door reached.",
		}, []string{"cause", "result", "door"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "highwater_refusals_total",
			Help: "Times that a door was found shut, by door and reason. One that stays shut for the same reason counts once.",
		}, []string{"door", "reason"}),
		doors: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "highwater_door_duration_seconds",
			Help:    "Time that a door took when this node went through it.",
			Buckets: slow,
		}, []string{"door"}),
		probe: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "highwater_probe_duration_seconds",
			Help:    "Time that one observation of the local server took, whatever it showed.",
			Buckets: fast,
		}),
		lateness: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "highwater_loop_lateness_seconds",
			Help:    "How much later than asked for the loop woke up. Tenths of a second endanger the adverts.",
			Buckets: fast,
		}),
		lease: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "highwater_vip_renewals_total",
			Help: "Times that the lease of the VIP was renewed.",
		}),
	}
	for _, door := range Doors {
		m.doors.WithLabelValues(door)
	}
	return m
}

// Failover counts a move of the role to this node that has ended, one way or the other. Cause and door are closed vocabularies: a reason
// code and one of [Doors].
func (m *Metrics) Failover(cause, result, door string) {
	m.failovers.WithLabelValues(cause, result, door).Inc()
}

// Refused counts a door that was found shut. Reason is a reason code.
func (m *Metrics) Refused(door, reason string) { m.refusals.WithLabelValues(door, reason).Inc() }

// Door observes how long a door took.
func (m *Metrics) Door(door string, took time.Duration) {
	m.doors.WithLabelValues(door).Observe(took.Seconds())
}

// Probe observes how long an observation of the server took.
func (m *Metrics) Probe(took time.Duration) { m.probe.Observe(took.Seconds()) }

// Lateness observes how much too late the loop woke up.
func (m *Metrics) Lateness(d time.Duration) { m.lateness.Observe(d.Seconds()) }

// Renewed counts a renewal of the VIP's lease.
func (m *Metrics) Renewed() { m.lease.Inc() }

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.failovers, m.refusals, m.doors, m.probe, m.lateness, m.lease}
}
