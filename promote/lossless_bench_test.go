// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"testing"
	"time"

	"highwater/test/lab"
)

// What a lossless failover takes in its steps: sealing, locking the accounts of
// two replicas that are not connected, the promotion as a whole, and on a
// replica that follows the new primary already the word that it may
// acknowledge.
func BenchmarkLossless(b *testing.B) {
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		b.Run(string(flavor), func(b *testing.B) {
			lab.Require(b, string(flavor))
			hosts := newLossless(b, flavor, 2, "db2")
			a, replica := hosts[0], hosts[1]
			ctx := b.Context()
			spent := make(map[string]time.Duration)
			timed := func(what string, do func() error) {
				b.Helper()
				begin := time.Now()
				if err := do(); err != nil {
					b.Fatal(what, err)
				}
				spent[what] += time.Since(begin)
			}
			lossless := &Lossless{Acks: 1, Lock: []string{"repl-db1", "repl-db2"}}
			src := a.source(1)
			for b.Loop() {
				b.StopTimer()
				a.demote(DemoteInput{})
				b.StartTimer()
				timed("stop-acknowledging", func() error { return replica.control.StopAcknowledging(ctx) })
				timed("stop-again", func() error { return replica.control.StopAcknowledging(ctx) })
				b.StopTimer()
				await(b, "nobody is connected", func() bool { return len(a.dumps()) == 0 })
				b.StartTimer()
				src.Term = a.control.Promised() + 1
				timed("promote", func() error {
					result, err := a.control.Promote(ctx, PromoteInput{Term: src.Term, Lossless: lossless})
					for _, s := range result.Steps {
						if s.Name == StepLocks || s.Name == StepSemiSync {
							spent[string(s.Name)] += s.Took
						}
					}
					return err
				})
				timed("unlock", func() error { return a.control.UnlockReplica(ctx, "repl-db2") })
				timed("follow-silently", func() error { _, err := replica.control.FollowSilently(ctx, src); return err })
				timed("acknowledge", func() error { _, err := replica.control.FollowAcknowledging(ctx, src); return err })
				a.clients(1)
				timed("silence", func() error { _, err := replica.control.FollowSilently(ctx, src); return err })
				timed("acknowledge", func() error { _, err := replica.control.FollowAcknowledging(ctx, src); return err })
				a.clients(1)
			}
			for what, took := range spent {
				if what == "acknowledge" {
					took /= 2
				}
				b.ReportMetric(float64(took.Microseconds())/float64(b.N), what+"-µs/op")
			}
		})
	}
}
