// SPDX-License-Identifier: Apache-2.0

package web

import (
	"maps"
	"runtime"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"highwater/election"
)

// collector produces all gauges, and the counters that others keep, from a Snapshot at scrape. It is unchecked (describes nothing), since
// which series there are depends on the snapshot; the golden test holds the whole.
type collector struct {
	snapshot func() Snapshot
}

// Describe implements prometheus.Collector.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.snapshot()
	e := emitter{ch}
	e.node(&s)
	if self := s.Status.Self(); self != nil {
		e.self(&s, self)
	}
	e.cluster(&s.Status)
	if s.Quorum != nil {
		e.quorum(s.Quorum)
		e.gauge("members_unmatched", "Nodes that only one of the configuration and the cluster record has.", float64(len(s.Status.Unmatched)))
	}
	if l := s.Status.Lossless; l != nil {
		e.lossless(l, s.LosslessChanges)
	}
	for _, result := range slices.Sorted(maps.Keys(s.Rejoins)) {
		e.counter("rejoins_total", "Returns of the local server with transactions that the primary has not, by what became of it.",
			s.Rejoins[result], "result", result)
	}
	e.traffic(&s)
}

// emitter sends constant metrics. Labels are given as name, value pairs.
type emitter struct{ ch chan<- prometheus.Metric }

func (e emitter) metric(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	desc := prometheus.NewDesc("highwater_"+name, help, names, nil)
	m, err := prometheus.NewConstMetric(desc, kind, value, values...)
	if err != nil { // a label that is not UTF-8: left out, and logged at each scrape
		m = prometheus.NewInvalidMetric(desc, err)
	}
	e.ch <- m
}

func (e emitter) gauge(name, help string, value float64, labels ...string) {
	e.metric(prometheus.GaugeValue, name, help, value, labels)
}

func (e emitter) flag(name, help string, on bool, labels ...string) {
	value := 0.0
	if on {
		value = 1
	}
	e.gauge(name, help, value, labels...)
}

func (e emitter) counter(name, help string, value uint64, labels ...string) {
	e.metric(prometheus.CounterValue, name, help, float64(value), labels)
}

// known sends a gauge only when there is a value: absent is not zero.
func (e emitter) known(name, help string, value *float64, labels ...string) {
	if value != nil {
		e.gauge(name, help, *value, labels...)
	}
}

// states sends a gauge for each state of an enumeration, 1 for the present one.
func (e emitter) states(name, help, label, now string, all []string) {
	for _, state := range all {
		e.flag(name, help, state == now, label, state)
	}
}

func (e emitter) byReason(name, help string, counts map[string]uint64, labels ...string) {
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		e.counter(name, help, counts[reason], append(slices.Clone(labels), "reason", reason)...)
	}
}

func (e emitter) node(s *Snapshot) {
	st := &s.Status
	e.gauge("build_info", "Version of the running supervisor; always 1.", 1,
		"version", st.Version, "revision", s.Config.SupervisorRevision, "goversion", runtime.Version())
	e.gauge("config_info", "Configuration in force; always 1.", 1,
		"cluster", st.Cluster, "node", st.Node, "authority", st.Authority, "durability", st.Durability, "hash", s.Config.Hash)
	e.flag("config_last_reload_successful", "Whether the configuration was read without error the last time.", s.Config.LastReloadOK)
	if at := s.Config.LastReloadOKAt; !at.IsZero() {
		e.gauge("config_last_reload_success_timestamp_seconds", "When the configuration was last read without error.", float64(at.UnixNano())/1e9)
	}
	e.flag("ready", "Whether this node takes part in its cluster.", s.NotReady == "")
	e.gauge("loop_age_seconds", "Time since the loop completed a step.", s.LoopAge.Seconds())
}

func (e emitter) self(s *Snapshot, h *Host) {
	e.states("role", "Role of this node, 1 for the present one.", "role", h.Role, roles())
	e.states("vrrp_state", "State of the virtual router on this node, 1 for the present one.", "state", h.VRRPState, routerStates())
	e.gauge("vrrp_priority", "Priority that this node advertises or would advertise.", float64(h.Priority))
	e.flag("primary", "Whether this node is the primary.", h.Role == rolePrimary)
	e.flag("vip_held", "Whether this node holds the VIP.", h.VIPHeld)
	e.gauge("vip_lease_remaining_seconds", "Time until the kernel removes the VIP from this node unless the lease is renewed; 0 without the VIP.",
		h.LeaseSeconds)

	e.flag("server_up", "Whether the local server is alive. 0 also while that is unknown.", h.Health == healthAlive)
	e.flag("server_writable", "Whether the local server accepts writes.", h.Writable)
	e.flag("server_eligible", "Whether the local server's verdict lets it become primary.", h.Eligible)
	e.gauge("server_replicas", "Replicas connected to the local server.", float64(s.Replicas))
	for _, reason := range distinct(h.Reasons) {
		e.gauge("verdict_reason", "Reasons why the local server may not become primary; 1 for each that applies.", 1, "reason", reason)
	}
	for _, reason := range distinct(h.Warnings) {
		e.gauge("verdict_warning", "What is wrong with the local server and does not keep it from being primary; 1 for each that applies.", 1,
			"reason", reason)
	}
	if h.Role != rolePrimary && !h.Witness {
		e.flag("replicating", "Whether the local server's applier runs and its receiver is not stopped.", h.Replicating)
		e.known("replication_lag_seconds", "How far the local server is behind its source; absent while unknown.", h.LagSeconds)
		e.gauge("replication_queue_transactions", "Transactions that the local server has received and not applied.", float64(h.Queue))
		if h.Behind != nil {
			e.gauge("replication_behind_transactions", "Transactions of the primary that the local server has not received; absent while unknown.",
				float64(*h.Behind))
		}
	}
	e.gauge("errant_transactions", "Transactions of the local server that the primary has not.", float64(h.ErrantCount))
	e.flag("held", "Whether the local server is kept from rejoining because of errant transactions.", h.Held)
}

func (e emitter) cluster(s *Status) {
	e.gauge("term", "Highest term known.", float64(s.Term))
	e.flag("paused", "Whether failover is paused.", s.Paused)
	candidates, primaries := 0, 0
	for i := range s.Hosts {
		if s.Hosts[i].Candidate() {
			candidates++
		}
		if s.Hosts[i].Up && s.Hosts[i].Role == rolePrimary {
			primaries++
		}
	}
	e.gauge("hosts", "Hosts of the cluster by configuration.", float64(len(s.Hosts)))
	e.gauge("candidates", "Hosts that qualify now to become primary, as seen from here.", float64(candidates))
	e.gauge("primaries", "Hosts that say they are primary, as seen from here. Other than 1 is a fault.", float64(primaries))
	e.states("level", "Judgement of the status page, 1 for the present one.", "level", string(s.Level),
		[]string{string(LevelOK), string(LevelWarning), string(LevelCritical)})
	e.flag("failover_running", "Whether a failover or switchover is under way.", s.Running != nil)
}

func (e emitter) quorum(q *Quorum) {
	e.flag("quorum_leader_known", "Whether this node hears who leads the quorum.", q.Leader != "")
	e.flag("quorum_right", "Whether a majority has given this node the right to be primary, and it has not lapsed.", q.Right)
	e.gauge("quorum_right_remaining_seconds", "Time until that right lapses unless it is confirmed again; 0 without it.", q.RightSeconds)
	e.flag("quorum_votes", "Whether this node has a vote.", q.Votes)
	e.gauge("quorum_raft_term", "Term of raft, which counts elections of the quorum.", float64(q.RaftTerm))
	e.gauge("quorum_record_version", "Version of the cluster record on this node.", float64(q.Record))
	e.counter("quorum_campaigns_total", "Elections of the quorum that this node began.", q.Campaigns)
	e.counter("quorum_elected_total", "Elections of the quorum that this node won.", q.Elected)
	e.counter("quorum_messages_received_total", "Messages of the quorum that other nodes sent.", q.Received)
	e.byReason("quorum_messages_dropped_total", "Messages of the quorum that were received and not used, by reason.", q.Dropped)
	e.byReason("quorum_messages_unsent_total", "Messages of the quorum that did not leave this node, by reason.", q.Unsent)
}

func (e emitter) lossless(l *Lossless, changes map[string]uint64) {
	e.gauge("lossless_synced_replicas", "Replicas whose acknowledgement counts, by the cluster record on this node.", float64(len(l.Synced)))
	e.gauge("lossless_acks", "Acknowledgements that each commit waits for, by the cluster record on this node; 0 while no replica may acknowledge.", float64(l.Acks))
	e.flag("lossless_alone", "Whether the primary commits without an acknowledgement.", l.Alone)
	for _, change := range slices.Sorted(maps.Keys(changes)) {
		e.counter("lossless_changes_total", "Changes of who acknowledges that this node made, by kind, and the attempts that failed.",
			changes[change], "change", change)
	}
}

func (e emitter) traffic(s *Snapshot) {
	e.counter("vrrp_adverts_sent_total", "VRRP adverts sent.", s.Adverts.Sent)
	const received = "VRRP adverts received, by result (accepted, dropped) and the reason for dropping."
	e.counter("vrrp_adverts_received_total", received, s.Adverts.Accepted, "result", "accepted", "reason", "")
	e.byReason("vrrp_adverts_received_total", received, s.Adverts.Dropped, "result", "dropped")
	for _, p := range s.Peers {
		e.flag("peer_up", "Whether the last exchange with this peer succeeded.", p.Up, "peer", p.Name)
		if p.RTT > 0 {
			e.gauge("peer_rtt_seconds", "Time that the last exchange with this peer took.", p.RTT.Seconds(), "peer", p.Name)
		}
		e.known("peer_heard_age_seconds", "Time since this peer was last heard on the peer channel; absent before the first time.",
			p.HeardSeconds, "peer", p.Name)
		e.byReason("peer_errors_total", "Failed exchanges with this peer, by reason.", p.Errors, "peer", p.Name)
	}
	e.byReason("peer_refused_total", "Connections and messages that the peer channel refused, by reason.", s.PeerRefused)
	e.counter("journal_records_total", "Records written to the journal.", s.JournalWritten)
	e.counter("journal_dropped_total", "Records that did not reach the journal.", s.JournalDropped)
	e.counter("log_dropped_total", "Lines that did not reach the log, because its reader could not keep up.", s.LogDropped)
}

// distinct is reasons without repetitions, which would be the same series twice.
func distinct(reasons []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(reasons)))
}

func roles() []string {
	var all []string
	for r := election.RoleStarting; r <= election.RoleStopped; r++ {
		all = append(all, r.String())
	}
	return all
}

func routerStates() []string {
	var all []string
	for s := election.Initialize; s <= election.Active; s++ {
		all = append(all, s.String())
	}
	return all
}
