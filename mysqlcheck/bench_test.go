// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"syscall"
	"testing"
	"time"

	"highwater/test/lab"
)

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSample measures a sample and its verdict against a real replica, and
// what they cost this process: at one in 250 ms, 10 ms of processor time each
// would be 4 % of a core.
func BenchmarkSample(b *testing.B) {
	for _, flavor := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		b.Run(string(flavor), func(b *testing.B) {
			lab.Require(b, string(flavor))
			p := startPair(b, flavor)
			a := p.onReplica(b, func(c *ProbeConfig) { c.CountersInterval, c.SettingsInterval = 0, 0 })
			a.untilEligible()
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				a.step()
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
			if !a.v.Eligible {
				b.Errorf("reasons %v", a.v.Reasons)
			}
		})
	}
}

// BenchmarkCommit measures the heartbeat on a real primary.
func BenchmarkCommit(b *testing.B) {
	lab.Require(b, string(lab.MySQL))
	s := startServer(b, lab.ServerConfig{Flavor: lab.MySQL})
	p := &pair{flavor: lab.MySQL, primary: s}
	p.exec(b, s, grantsFor(b, s, "localhost")...)
	probe := newProbe(b, s, nil)
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if r := probe.Commit(b.Context()); r.State != CommitOK {
			b.Fatalf("%+v", r)
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func BenchmarkAssess(b *testing.B) {
	s := goodReplica(b)
	v := settled(b, s)
	b.ReportAllocs()
	for b.Loop() {
		v = Assess(s, v, Policy{})
	}
}
