// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"time"

	"highwater/mysqlcheck/gtid"
)

// rateWindow is over how long the apply rate is measured.
const rateWindow = time.Second

// lag finds how far behind a replica is, and how long it would take to apply
// what it holds. Seconds_Behind_Source alone is never believed: it stays 0
// while the source is frozen, and is NULL when the receiver stops.
//
// Three measures are combined, and the largest counts:
//
//   - GTIDs and our own clock: what was received, or reported by the primary, a
//     while ago, and is not executed yet, is at least that old. This needs no
//     other clock, and is the same on both flavours.
//   - Commit timestamps (MySQL): the age of the oldest transaction that is
//     being applied, as its source dated it, and the same as a difference
//     between two dates by the source's clock.
//   - Seconds_Behind_Master (MariaDB), while there is something to apply.
//
// With nothing to apply the lag is 0, if the source has shown life as recently
// as its heartbeats promise. If it has not, nobody knows: the age of its last
// sign of life is the most the lag can be.
func (j *judge) lag(prev Verdict) {
	s, v := j.s, j.v
	if s.ReplicationAt == 0 {
		return
	}
	r := s.Replication
	v.SourceAge = r.EventAge
	v.Queue = r.Received.Subtract(s.Executed).Count()
	v.Missing = s.Want.PrimaryExecuted.Subtract(s.Executed).Count()
	marked := j.mark()
	j.drainRate(prev)

	silentAfter := min(j.p.MaxLag, 2*r.HeartbeatPeriod+time.Second)
	if r.HeartbeatPeriod == 0 {
		silentAfter = j.p.MaxLag
	}
	v.SourceSilent = r.Configured && v.SourceAge.Known && v.SourceAge.Value > silentAfter
	switch {
	case v.Queue > 0:
		v.Lag, v.LagKnown = max(marked, applierLag(r)), true
	case v.SourceAge.Known && !v.SourceSilent:
		v.Lag, v.LagKnown = marked, true
	default:
		v.Lag, v.LagKnown = max(marked, v.SourceAge.Value), false
	}
	v.CaughtUp = (v.LagKnown || v.SourceAge.Known) && v.Lag <= j.p.MaxLag
	j.drain()

	j.warn(v.SourceSilent && !s.Want.Sealed, WarnSourceSilent)
	j.warn(!v.CaughtUp && s.Want.Role == RoleReplica, WarnLagging)
	j.warn(!v.DrainFits, WarnDrainTooLong)
}

// mark returns how long ago the server was to execute something that it has
// not: zero when it has kept up since the last mark.
func (j *judge) mark() time.Duration {
	s, m := j.s, &j.v.Memory
	if m.MarkAt != 0 && !s.Executed.Contains(m.Mark) {
		return s.At - m.MarkAt
	}
	m.Mark, m.MarkAt = gtid.Set{}, 0
	if target := s.Replication.Received.Union(s.Want.PrimaryExecuted); !s.Executed.Contains(target) {
		m.Mark, m.MarkAt = target, s.At
	}
	return 0
}

// applierLag is the age of the oldest transaction that is received and not
// applied, by the dates that transactions carry.
func applierLag(r Replication) time.Duration {
	var lag time.Duration
	atLeast := func(a Age) {
		if a.Known {
			lag = max(lag, a.Value)
		}
	}
	atLeast(r.ApplyingOriginal)
	atLeast(r.SecondsBehind)
	// The distance between two dates by the source's clock, plus the time since
	// the later one arrived by ours, is free of the difference of the clocks.
	oldest := r.ApplyingImmediate
	if !oldest.Known {
		// No worker has it yet: it is younger than the newest applied.
		oldest = r.AppliedImmediate
	}
	if oldest.Known && r.QueuedImmediate.Known && r.QueuedAge.Known {
		atLeast(Age{Value: oldest.Value - r.QueuedImmediate.Value + r.QueuedAge.Value, Known: true})
	}
	return lag
}

// drainRate measures how many transactions the applier executes in a second
// while there is a queue: without one it is only as fast as its source.
func (j *judge) drainRate(prev Verdict) {
	s, v, m := j.s, j.v, &j.v.Memory
	count := s.Executed.Count()
	v.ApplyRate = prev.ApplyRate
	if m.MovedAt == 0 || !s.Executed.Equal(prev.Executed) || v.Queue == 0 {
		m.MovedAt = s.At
	}
	if v.Queue == 0 {
		m.RateAt, m.RateCount = 0, 0
		return
	}
	if m.RateAt == 0 || count < m.RateCount {
		m.RateAt, m.RateCount = s.At, count
		return
	}
	elapsed := s.At - m.RateAt
	if elapsed < rateWindow {
		return
	}
	rate := float64(count-m.RateCount) / elapsed.Seconds()
	if rate > 0 {
		if v.ApplyRate > 0 {
			rate = (rate + v.ApplyRate) / 2
		}
		v.ApplyRate = rate
	}
	m.RateAt, m.RateCount = s.At, count
}

// drain estimates how long the queue takes.
func (j *judge) drain() {
	v := j.v
	switch {
	case v.Queue == 0:
		v.DrainETA, v.DrainKnown = 0, true
	case v.ApplyRate > 0:
		v.DrainETA, v.DrainKnown = seconds(float64(v.Queue)/v.ApplyRate), true
	case v.LagKnown:
		// What took the source that long takes the applier about as long.
		v.DrainETA, v.DrainKnown = v.Lag, true
	}
	// One transaction, such as an ALTER TABLE, that has taken this long may
	// well take as long again.
	if v.Queue > 0 {
		v.DrainETA = max(v.DrainETA, j.s.At-v.Memory.MovedAt)
	}
	v.DrainFits = v.DrainKnown && v.DrainETA <= j.p.DrainLimit
}

// seconds converts without overflow: a Duration ends after 292 years.
func seconds(s float64) time.Duration {
	const most = float64(1<<63-1) / float64(time.Second)
	if s >= most {
		return 1<<63 - 1
	}
	return time.Duration(s * float64(time.Second))
}
