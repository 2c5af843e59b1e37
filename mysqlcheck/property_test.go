// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"highwater/mysqlcheck/gtid"
)

// TestAssessProperties feeds Assess rows of samples, sensible or not, and holds
// every verdict to what must always be so.
func TestAssessProperties(t *testing.T) {
	base := goodReplica(t)
	sets := map[Flavor][]gtid.Set{
		MySQL: {
			{}, set(t, uuidPrimary+":1-100"), set(t, uuidPrimary+":1-90"), set(t, uuidPrimary+":1-100,"+uuidReplica+":1"), set(t, uuidOther+":5-9"),
		},
		MariaDB: {{}, set(t, "0-1-100"), set(t, "0-1-90"), set(t, "0-1-90,0-2-101"), set(t, "1-3-7")},
	}
	rapid.Check(t, func(t *rapid.T) {
		flavor := rapid.SampledFrom([]Flavor{MySQL, MariaDB}).Draw(t, "flavor")
		p := Policy{Rise: rapid.IntRange(0, 3).Draw(t, "rise"), Fall: rapid.IntRange(0, 3).Draw(t, "fall")}
		v := Verdict{}
		at := time.Hour
		for range rapid.IntRange(1, 12).Draw(t, "samples") {
			at += time.Duration(rapid.Int64Range(1, int64(3*time.Second)).Draw(t, "step"))
			s := anySample(t, base, flavor, sets[flavor], at)
			prev := v
			v = Assess(s, prev, p)
			if again := Assess(s, prev, p); !reflect.DeepEqual(v, again) {
				t.Fatal("not the same twice")
			}
			check(t, s, prev, v, p)
		}
	})
}

// anySample draws a sample.
func anySample(t *rapid.T, s Sample, flavor Flavor, sets []gtid.Set, at time.Duration) Sample {
	anySet := rapid.SampledFrom(sets)
	age := func(label string) Age {
		return Age{Value: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, label)), Known: rapid.Bool().Draw(t, label+" known")}
	}
	rarely := func(label string) bool { return rapid.IntRange(0, 4).Draw(t, label) == 0 }
	s.At, s.ReplicationAt = at, at
	s.Version.Flavor = flavor
	s.Want.Role = rapid.SampledFrom([]Role{RoleUnknown, RolePrimary, RoleReplica}).Draw(t, "role")
	s.Want.Sealed = rapid.Bool().Draw(t, "sealed")
	s.Want.PrimaryExecuted = anySet.Draw(t, "primary")
	s.Executed, s.Purged, s.Replication.Received = anySet.Draw(t, "executed"), anySet.Draw(t, "purged"), anySet.Draw(t, "received")
	if rarely("receiver") {
		s.Replication.Receiver.State = ThreadState(rapid.IntRange(0, 3).Draw(t, "receiver state"))
		s.Replication.Receiver.ErrorNumber = rapid.SampledFrom([]uint32{0, 2003, 1045, 13114}).Draw(t, "receiver error")
	}
	r := &s.Replication
	r.EventAge, r.QueuedAge, r.QueuedImmediate = age("event"), age("queued"), age("queued immediate")
	r.ApplyingOriginal, r.ApplyingImmediate, r.AppliedImmediate = age("applying"), age("applying immediate"), age("applied immediate")
	s.ReadOnly = rapid.Bool().Draw(t, "read_only")
	s.Commit.State = CommitState(rapid.IntRange(0, 5).Draw(t, "commit"))
	if s.Commit.State == CommitBlocked {
		s.Commit.Reason = WarnCommitWaitsForAck
	}
	if rarely("restart") {
		s.StartID = "start-2"
	}
	if rarely("failure") {
		s.Failure = Failure{Class: FailureClass(rapid.IntRange(1, 4).Draw(t, "class")), Reason: ReasonServerSilent}
	}
	if rarely("gone") {
		s.Process.Alive = false
	}
	if rarely("not read") {
		s.ReplicationAt, s.SettingsAt = 0, 0
	}
	return s
}

// check holds a verdict to what must always be so.
func check(t *rapid.T, s Sample, prev, v Verdict, p Policy) {
	p = p.withDefaults()
	fail := func(what string) { t.Fatalf("%s\nsample %+v\nverdict %+v", what, s, v) }
	if v.At != s.At {
		fail("not of this sample")
	}
	if !v.Eligible && len(v.Reasons) == 0 {
		fail("a refusal without a reason")
	}
	if v.Eligible && len(v.Reasons) > 0 && v.Memory.Bad >= p.Fall {
		fail("eligible in spite of reasons")
	}
	if v.Eligible && !prev.Eligible && v.Memory.Good < p.Rise {
		fail("eligible before it has settled")
	}
	if v.Health == HealthDead && (v.Eligible || v.Writable || v.Primary.Hung || s.Failure.Class == NoFailure) {
		fail("dead, and something else as well")
	}
	if s.Failure.Class == Answered && s.Process.Alive && v.Health != HealthAlive {
		fail("an answer is proof of life")
	}
	if s.Failure.Class == TimedOut && s.Process.Alive && v.Health != HealthUnknown {
		fail("silence proves nothing")
	}
	if v.Primary != (PrimaryVerdict{}) && s.Want.Role != RolePrimary {
		fail("a primary's verdict on no primary")
	}
	if s.Failure.Class == NoFailure && s.Commit.State == CommitBlocked && v.Primary.Hung {
		fail("a blocked commit is no hang")
	}
	if v.Lag < 0 || v.DrainETA < 0 || v.LagKnown && s.Failure.Class != NoFailure {
		fail("impossible lag")
	}
	if _, err := json.Marshal(v); err != nil {
		fail("cannot be journaled: " + err.Error())
	}
}
