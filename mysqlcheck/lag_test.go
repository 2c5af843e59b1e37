// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"strconv"
	"testing"
	"time"

	"highwater/mysqlcheck/gtid"
)

func decimal(n int) string { return strconv.Itoa(n) }

func known(d time.Duration) Age { return Age{Value: d, Known: true} }

// behind is a replica that has executed up to done and received up to got.
func behind(t testing.TB, at time.Duration, done, got int) Sample {
	s := goodReplica(t)
	s.At, s.ReplicationAt = at, at
	s.Executed = set(t, uuidPrimary+":1-"+decimal(done))
	s.Replication.Received = set(t, uuidPrimary+":1-"+decimal(got))
	s.Want.PrimaryExecuted = gtid.Set{}
	return s
}

// TestLagByTimestamps: whichever way the clocks differ, the lag is not less than
// it is.
func TestLagByTimestamps(t *testing.T) {
	// The oldest transaction that is being applied was committed 20 s ago, the
	// newest received 5 s ago and came at once.
	for _, skew := range []time.Duration{0, 8 * time.Second, -8 * time.Second} {
		s := behind(t, 1000*time.Second, 90, 100)
		s.Replication.ApplyingOriginal = known(max(0, 20*time.Second+skew))
		s.Replication.ApplyingImmediate = s.Replication.ApplyingOriginal
		s.Replication.QueuedImmediate = known(max(0, 5*time.Second+skew))
		s.Replication.QueuedAge = known(5 * time.Second)
		v := Assess(s, Verdict{}, Policy{})
		want := 20*time.Second + max(0, skew)
		if skew < -5*time.Second {
			// A date in the future reads as now, so the distance shrinks.
			want = 20*time.Second + skew + 5*time.Second
		}
		if !v.LagKnown || v.Lag != want || v.Queue != 10 || v.CaughtUp {
			t.Errorf("clock off by %v: lag %v (known %t), queue %d, caught up %t; want %v", skew, v.Lag, v.LagKnown, v.Queue, v.CaughtUp, want)
		}
	}
	// Nothing is being applied, as with a stopped applier: by the newest
	// applied.
	s := behind(t, 1000*time.Second, 90, 100)
	s.Replication.AppliedImmediate, s.Replication.QueuedImmediate = known(time.Minute), known(10*time.Second)
	s.Replication.QueuedAge = known(9 * time.Second)
	if v := Assess(s, Verdict{}, Policy{}); v.Lag != 59*time.Second {
		t.Errorf("stopped applier: lag %v", v.Lag)
	}
	// Dates of what was applied long ago mean nothing when the queue is empty.
	s = behind(t, 1000*time.Second, 100, 100)
	s.Replication.AppliedImmediate, s.Replication.QueuedImmediate = known(time.Hour), known(time.Hour)
	s.Replication.QueuedAge = known(time.Hour)
	if v := Assess(s, Verdict{}, Policy{}); v.Lag != 0 || !v.LagKnown {
		t.Errorf("idle: lag %v (known %t)", v.Lag, v.LagKnown)
	}
	// MariaDB's word counts only with a queue, and only upwards.
	s = mariaReplica(t)
	s.Replication.Received = set(t, "0-1-110")
	s.Want.PrimaryExecuted = gtid.Set{}
	s.Replication.SecondsBehind = known(7 * time.Second)
	if v := Assess(s, Verdict{}, Policy{}); v.Lag != 7*time.Second || v.Queue != 10 {
		t.Errorf("MariaDB: lag %v, queue %d", v.Lag, v.Queue)
	}
}

// TestLagByGTID: an applier that is always behind by what arrived in the last
// 3 s is seen by our own clock alone, and one that keeps up has no lag.
func TestLagByGTID(t *testing.T) {
	v := Verdict{}
	most := time.Duration(0)
	for i := range 200 {
		at := 1000*time.Second + time.Duration(i)*250*time.Millisecond
		v = Assess(behind(t, at, 100+25*i, 100+25*i+300), v, Policy{})
		most = max(most, v.Lag)
	}
	if most < 2*time.Second || most > 4*time.Second {
		t.Errorf("3 s behind: lag %v", most)
	}
	// A primary is always a little ahead.
	v = Verdict{}
	for i := range 200 {
		s := behind(t, 1000*time.Second+time.Duration(i)*250*time.Millisecond, 100+25*i, 100+25*i)
		s.Want.PrimaryExecuted = set(t, uuidPrimary+":1-"+decimal(100+25*i+10))
		v = Assess(s, v, Policy{})
		if v.Lag > 500*time.Millisecond || !v.LagKnown || v.Missing != 10 {
			t.Fatalf("step %d: lag %v (known %t), missing %d", i, v.Lag, v.LagKnown, v.Missing)
		}
	}
	// A receiver that hangs, while the primary reports more and more.
	for i := range 100 {
		s := behind(t, 2000*time.Second+time.Duration(i)*250*time.Millisecond, 5000, 5000)
		s.Want.PrimaryExecuted = set(t, uuidPrimary+":1-"+decimal(6000+25*i))
		v = Assess(s, v, Policy{})
	}
	if v.Lag < 20*time.Second || v.CaughtUp {
		t.Errorf("hanging receiver: lag %v, caught up %t", v.Lag, v.CaughtUp)
	}
}

// TestDrain: the estimate follows the rate at which a queue was seen to shrink.
func TestDrain(t *testing.T) {
	v := Verdict{}
	at := 1000 * time.Second
	done := 0
	for range 40 { // 100 transactions a second
		at += 250 * time.Millisecond
		done += 25
		v = Assess(behind(t, at, 1000+done, 12000), v, Policy{})
	}
	if v.ApplyRate < 95 || v.ApplyRate > 105 || v.Queue != 10000 || !v.DrainKnown {
		t.Fatalf("rate %.1f/s, queue %d", v.ApplyRate, v.Queue)
	}
	if v.DrainETA < 95*time.Second || v.DrainETA > 105*time.Second || v.DrainFits || !hasReason(v.Warnings, WarnDrainTooLong) {
		t.Errorf("ETA %v, fits %t, warnings %v", v.DrainETA, v.DrainFits, v.Warnings)
	}
	if !v.Eligible {
		t.Errorf("the last good replica may drain for long: reasons %v", v.Reasons)
	}
	// The rate outlives the queue.
	v = Assess(behind(t, at+time.Second, 12000, 12000), v, Policy{})
	if v.DrainETA != 0 || !v.DrainFits || v.ApplyRate < 95 {
		t.Errorf("drained: %v, %.1f/s", v.DrainETA, v.ApplyRate)
	}
	// One long transaction: the estimate grows with it.
	for i := range 100 {
		v = Assess(behind(t, at+2*time.Second+time.Duration(i)*time.Second, 12000, 12001), v, Policy{})
	}
	if v.DrainETA < 90*time.Second || v.DrainFits {
		t.Errorf("a transaction of 100 s: ETA %v", v.DrainETA)
	}
	// No rate was ever seen: what took the source that long takes as long here.
	s := behind(t, 1000*time.Second, 90, 100)
	s.Replication.ApplyingOriginal = known(4 * time.Second)
	if v := Assess(s, Verdict{}, Policy{}); v.DrainETA != 4*time.Second || !v.DrainFits || !v.DrainKnown {
		t.Errorf("no rate: %v", v.DrainETA)
	}
	if d := seconds(1e30); d != 1<<63-1 {
		t.Errorf("seconds(1e30) = %v", d)
	}
}

// TestEventClock: MariaDB's heartbeats are dated by our own clock.
func TestEventClock(t *testing.T) {
	var e eventClock
	r := Replication{Receiver: Thread{State: ThreadRunning}, HeartbeatPeriod: time.Second}
	at := func(ms int) time.Duration { return time.Hour + time.Duration(ms)*time.Millisecond }
	for _, tt := range []struct {
		ms       int
		progress string
		state    ThreadState
		want     Age
	}{
		{0, "1", ThreadRunning, Age{}},
		{500, "1", ThreadRunning, Age{}},
		{600, "2", ThreadRunning, known(0)},
		{900, "2", ThreadRunning, known(300 * time.Millisecond)},
		{1600, "3", ThreadRunning, known(0)},
		{9600, "3", ThreadRunning, known(8 * time.Second)},
		{9700, "3", ThreadConnecting, known(8100 * time.Millisecond)},
		{9800, "0", ThreadConnecting, known(8200 * time.Millisecond)}, // counters reset
		{9900, "0", ThreadRunning, known(8300 * time.Millisecond)},
		{9950, "1", ThreadRunning, known(0)},
	} {
		r.Receiver.State = tt.state
		if got := e.age(at(tt.ms), r, tt.progress); got != tt.want {
			t.Errorf("at %d ms: %v, want %v", tt.ms, got, tt.want)
		}
	}
	// Nothing since we look, for longer than the heartbeats promise.
	e = eventClock{}
	r.Receiver.State = ThreadRunning
	e.age(at(0), r, "1")
	if got := e.age(at(2500), r, "1"); got != known(2500*time.Millisecond) {
		t.Errorf("silent from the start: %v", got)
	}
	// MySQL tells the age itself; a growing relay log makes it younger.
	e = eventClock{}
	r.EventAge = known(4 * time.Second)
	if got := e.age(at(0), r, "100"); got != known(4*time.Second) {
		t.Errorf("MySQL, first: %v", got)
	}
	if got := e.age(at(100), r, "200"); got != known(100*time.Millisecond) {
		t.Errorf("MySQL, relay log grows: %v", got)
	}
	r.EventAge = known(97 * time.Millisecond)
	if got := e.age(at(200), r, "300"); got != known(97*time.Millisecond) {
		t.Errorf("MySQL, a transaction, and the relay log grows: %v", got)
	}
	r.EventAge = known(50 * time.Millisecond)
	if got := e.age(at(300), r, "200"); got != known(50*time.Millisecond) {
		t.Errorf("MySQL, heartbeat: %v", got)
	}
}
