// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"testing"
	"time"

	"highwater/test/lab"
)

// TestDisk hangs and fills the disk below a real primary.
func TestDisk(t *testing.T) {
	lab.Require(t, "root")
	flavors(t, func(t *testing.T, flavor lab.Flavor) {
		l, err := lab.New(t.Context(), lab.Config{Hosts: 1, Flavor: flavor, DiskSize: 600 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}()
		host := l.Host("db1")
		p := &pair{flavor: flavor, primary: host.Server}
		p.exec(t, p.primary, "SET GLOBAL read_only = OFF")
		p.exec(t, p.primary, grantsFor(t, p.primary, "localhost")...)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := WatchServer(ctx, connTo(p.primary), nil)
		if e := next(t, w); e.Pid == 0 {
			t.Fatalf("event %+v", e)
		}
		a := p.onPrimary(t, func(c *ProbeConfig) {
			c.Timeout, c.CommitTimeout, c.Process = 400*time.Millisecond, 1500*time.Millisecond, w.Process
		})
		commitUntil(t, a.probe, "ok", isOK)
		a.untilEligible()
		a.until("the disk seen", func(Verdict) bool { return a.last.Storage.Known && a.last.Storage.TotalBytes < 700<<20 })

		// Every SELECT is answered, and nothing can be written.
		t.Run("hung", func(t *testing.T) {
			if err := host.FreezeDisk(); err != nil {
				t.Fatal(err)
			}
			thawed := false
			defer func() {
				if !thawed {
					if err := host.ThawDisk(); err != nil {
						t.Error(err)
					}
				}
			}()
			r := commitUntil(t, a.probe, "hung", func(r CommitResult) bool { return r.State == CommitHung })
			v := a.step()
			if a.last.Failure.Class != NoFailure || !v.Primary.Hung || words(v.Reasons) != string(ReasonCommitHung) {
				t.Errorf("failure %+v, %+v, reasons %v; the commit's thread: %q", a.last.Failure, v.Primary, v.Reasons, r.Thread)
			}
			if err := host.ThawDisk(); err != nil {
				t.Fatal(err)
			}
			thawed = true
			commitUntil(t, a.probe, "ok", isOK)
			a.untilEligible()
		})

		t.Run("full", func(t *testing.T) {
			if err := host.FillDisk(); err != nil {
				t.Fatal(err)
			}
			v := a.untilReason(ReasonDiskFull)
			if v.Primary.Failing != ReasonDiskFull || v.Eligible {
				t.Errorf("%+v, reasons %v", v.Primary, v.Reasons)
			}
			if err := host.FreeDisk(); err != nil {
				t.Fatal(err)
			}
			a.untilEligible()
		})
	})
}
