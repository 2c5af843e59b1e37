// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"fmt"
	"time"

	"highwater/mysqlcheck/gtid"
)

// Health is what a server's silence or answer proves. Only a process that is
// gone is dead; a server that does not answer is unknown for as long as it
// takes, and [PrimaryVerdict.Hung] says when that has lasted too long.
type Health uint8

// Health values.
const (
	HealthUnknown Health = iota
	HealthAlive
	HealthDead
)

// String returns the health in lower case.
func (h Health) String() string {
	switch h {
	case HealthUnknown:
		return "unknown"
	case HealthAlive:
		return "alive"
	case HealthDead:
		return "dead"
	default:
		return fmt.Sprintf("Health(%d)", uint8(h))
	}
}

// Policy is how strict Assess is. A zero field means its default.
type Policy struct {
	Rise   int           // good samples in a row until a server is eligible; default 2
	Fall   int           // bad ones until it is not; default 1
	MaxLag time.Duration // default 10 s
	// Timeout is check.timeout, by which samples are at most apart from what
	// they show; default 1 s.
	Timeout time.Duration
	// CommitTimeout is how old the last good commit may be; default 5 s.
	CommitTimeout time.Duration
	// DrainLimit is promote.timeout; default 30 s.
	DrainLimit time.Duration
	// ErrantConfirm is how long the primary may take to report what a replica
	// has already executed; default 3 s.
	ErrantConfirm time.Duration
	// CrashLoopRestarts within CrashLoopWindow make a crash loop; default 3
	// within 10 min.
	CrashLoopRestarts int
	CrashLoopWindow   time.Duration
	// DiskFull and DiskLow are bytes free in the data directory; default 32 MiB
	// and 1 GiB.
	DiskFull, DiskLow uint64
}

// withDefaults fills in what is zero.
func (p Policy) withDefaults() Policy {
	p.Rise = max(1, orElse(p.Rise, 2))
	p.Fall = max(1, orElse(p.Fall, 1))
	p.MaxLag = orDefault(p.MaxLag, 10*time.Second)
	p.Timeout = orDefault(p.Timeout, time.Second)
	p.CommitTimeout = orDefault(p.CommitTimeout, 5*time.Second)
	p.DrainLimit = orDefault(p.DrainLimit, 30*time.Second)
	p.ErrantConfirm = orDefault(p.ErrantConfirm, 3*time.Second)
	p.CrashLoopRestarts = orElse(p.CrashLoopRestarts, 3)
	p.CrashLoopWindow = orDefault(p.CrashLoopWindow, 10*time.Minute)
	p.DiskFull = orElse(p.DiskFull, 32<<20)
	p.DiskLow = orElse(p.DiskLow, 1<<30)
	return p
}

func orElse[T int | uint64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Verdict is what a server is good for. Each is made from a Sample and the
// Verdict before it, and from nothing else.
type Verdict struct {
	At     time.Duration // the Sample's
	Health Health
	// Eligible: of itself the server may stand as a candidate at a failover
	// (door 2). Reasons says why not; while check.fall is not reached, Reasons
	// may already say what is wrong. A primary that is not eligible is not
	// thereby to be replaced: that is for Health and Primary to say.
	Eligible bool
	// CaughtUp: lag, or the most it can be, is within max_lag. It gates
	// hand-overs and ranks candidates, and is no part of Eligible: a replica
	// whose source has died cannot prove how far behind it is.
	CaughtUp bool
	// DrainFits: what is received can be applied within promote.timeout.
	DrainFits bool
	// Writable: read_only=OFF was seen.
	Writable bool
	Primary  PrimaryVerdict
	// SourceSilent: the source is frozen, gone or cut off, as its replica sees
	// it; SourceAge is the age of the source's last sign of life.
	SourceSilent bool
	SourceAge    Age

	Reasons  []Reason // sorted by importance: the first is the one to show
	Warnings []Reason

	// Lag is how far the applier is behind; where !LagKnown it is the most it
	// can be, the age of the last word from the source, or zero where there
	// was none.
	Lag      time.Duration
	LagKnown bool
	// Queue counts the transactions received and not executed. Missing counts
	// those that the primary had reported and this server has not executed.
	Queue, Missing uint64
	// ApplyRate is in transactions per second, as last seen with a queue; 0:
	// never. DrainETA is the time to apply the queue by that rate, or by the
	// lag where there is no rate; known iff DrainKnown.
	ApplyRate  float64
	DrainETA   time.Duration
	DrainKnown bool

	ServerUUID, StartID string
	Version             Version
	Executed            gtid.Set
	Received            gtid.Set // all the server holds: received or executed
	Purged              gtid.Set
	Errant              gtid.Set // executed here and not on the primary

	// Memory is what the next Assess needs to know.
	Memory Memory
}

// PrimaryVerdict is the part of a Verdict that concerns a primary.
type PrimaryVerdict struct {
	// CommitOK: a commit has come through within the commit timeout.
	CommitOK bool
	// Blocked is why a commit waits, without fault of the server: it moves
	// nothing and fences nobody. Empty: it does not.
	Blocked Reason
	// Hung: no connection answers, or no commit makes progress, for too long.
	Hung bool
	// Failing is why the server, alive, cannot do a primary's work until
	// somebody repairs it, such as a full disk. Empty: it can.
	Failing Reason
}

// Memory is what a Verdict carries over from the ones before it.
type Memory struct {
	Good, Bad, Silent int // samples in a row
	// Starts are when the server was seen to have restarted.
	Starts []time.Duration
	// Mark is what the server was to execute as of MarkAt, and has not since.
	Mark   gtid.Set
	MarkAt time.Duration
	// Pending are transactions that the primary has not reported, since
	// PendingAt.
	Pending   gtid.Set
	PendingAt time.Duration
	// RateAt and RateCount are the executed transactions when the measurement
	// of ApplyRate began; zero: none is under way.
	RateAt    time.Duration
	RateCount uint64
	// MovedAt is when the applier last executed something.
	MovedAt time.Duration
}
