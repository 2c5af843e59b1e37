// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"net/netip"
	"slices"
	"strings"

	"highwater/mysqlcheck/gtid"
)

// Assess judges a server by what was seen of it now, by the Verdict before and
// by the policy. It is pure.
//
// Hysteresis: a server becomes eligible after p.Rise good samples in a row and
// loses it after p.Fall bad ones, but at once when its process is gone or has
// been replaced.
func Assess(s Sample, prev Verdict, p Policy) Verdict {
	p = p.withDefaults()
	if s.Failure.Class != NoFailure {
		return assessFailure(s, prev, p)
	}
	v := Verdict{
		At: s.At, Health: HealthAlive,
		Writable:   !s.ReadOnly,
		ServerUUID: s.ServerUUID, StartID: s.StartID, Version: s.Version,
		Executed: s.Executed, Received: s.Executed.Union(s.Replication.Received), Purged: s.Purged,
		Memory: prev.Memory,
	}
	v.Memory.Silent = 0
	restarted := prev.StartID != "" && prev.StartID != s.StartID
	if restarted {
		v.Memory = Memory{Starts: append(slices.Clone(prev.Memory.Starts), s.At)}
		if s.Want.Rebuilt {
			v.Memory = Memory{}
		}
	}
	v.Memory.Starts = recent(v.Memory.Starts, s.At-p.CrashLoopWindow)

	j := judge{s: &s, p: p, v: &v}
	j.server()
	switch s.Want.Role {
	case RolePrimary:
		j.primary()
		v.CaughtUp, v.LagKnown, v.DrainFits, v.DrainKnown = true, true, true, true
	case RoleReplica:
		j.replica()
		j.errant(prev)
		j.lag(prev)
	case RoleUnknown:
		j.lag(prev)
	}

	was := prev.Eligible && !restarted
	if len(v.Reasons) == 0 {
		v.Memory.Good, v.Memory.Bad = v.Memory.Good+1, 0
		v.Eligible = was || v.Memory.Good >= p.Rise
		if !v.Eligible {
			v.Reasons = []Reason{ReasonSettling}
		}
	} else {
		v.Memory.Good, v.Memory.Bad = 0, v.Memory.Bad+1
		v.Eligible = was && v.Memory.Bad < p.Fall
	}
	return v
}

// assessFailure judges a server whose state could not be read: what was last
// known of it stays for display, with one reason.
func assessFailure(s Sample, prev Verdict, p Policy) Verdict {
	v := prev
	v.At = s.At
	v.Memory.Good = 0
	v.Memory.Bad++
	v.Warnings = nil
	v.Primary.CommitOK = commitFresh(s, p)
	if s.Want.Role != RolePrimary {
		v.Primary = PrimaryVerdict{}
	}
	v.LagKnown, v.CaughtUp = false, false
	reason := s.Failure.Reason
	gone := s.Process.Known && !s.Process.Alive
	switch {
	case gone, s.Failure.Class == Refused && !s.Process.Known:
		v.Health, reason = HealthDead, ReasonServerDead
		v.Memory.Silent = 0
		v.Writable, v.Primary = false, PrimaryVerdict{}
	case s.Failure.Class == Refused:
		v.Health, reason = HealthAlive, ReasonServerShuttingDown
		v.Memory.Silent = 0
		v.Primary.Hung = false
	case s.Failure.Class == Answered:
		// One error is one answer: it proves life, and nothing else.
		v.Health = HealthAlive
		v.Memory.Silent = 0
		v.Primary.Hung = s.Want.Role == RolePrimary && s.Commit.State == CommitHung
	case s.Failure.Class == Dropped && s.Took < p.Timeout && v.Memory.Bad < p.Fall+droppedGrace:
		// A dying process drops its connections before the kernel tells of its end; that is
		// not silence. One that goes on dropping them is as good as silent.
		v.Health, reason = HealthUnknown, ReasonServerSilent
	default:
		v.Health, reason = HealthUnknown, ReasonServerSilent
		v.Memory.Silent++
		if v.Memory.Silent >= p.Fall {
			reason = ReasonServerHung
			v.Primary.Hung = s.Want.Role == RolePrimary
		}
	}
	v.Reasons = []Reason{reason}
	v.Eligible = prev.Eligible && v.Health != HealthDead && v.Memory.Bad < p.Fall
	return v
}

// droppedGrace is how many samples, beyond check.fall, may end in a dropped connection
// before that counts as a server that hangs.
const droppedGrace = 5

// recent drops the instants before from.
func recent[T ~int64](at []T, from T) []T {
	i := slices.IndexFunc(at, func(t T) bool { return t >= from })
	if i < 0 {
		return nil
	}
	return at[i:]
}

// commitFresh reports whether a commit has come through of late.
func commitFresh(s Sample, p Policy) bool {
	c := s.Commit
	return c.State == CommitOK && s.At-(c.At+c.Took) <= p.CommitTimeout
}

// judge collects reasons and warnings. The order of the calls is the order of
// importance.
type judge struct {
	s *Sample
	p Policy
	v *Verdict
}

func (j *judge) refuse(when bool, r Reason) {
	if when && !slices.Contains(j.v.Reasons, r) {
		j.v.Reasons = append(j.v.Reasons, r)
	}
}

func (j *judge) warn(when bool, r Reason) {
	if when && !slices.Contains(j.v.Warnings, r) {
		j.v.Warnings = append(j.v.Warnings, r)
	}
}

// server judges what holds for every role.
func (j *judge) server() {
	s, set, p := j.s, j.s.Settings, j.p
	j.refuse(s.Version.Supported() != nil, ReasonVersionUnsupported)
	j.refuse(len(j.v.Memory.Starts) >= p.CrashLoopRestarts, ReasonCrashLoop)
	j.refuse(s.OfflineMode, ReasonOfflineMode)
	j.refuse(s.Storage.Known && s.Storage.ReadOnly, ReasonDiskReadOnly)
	j.refuse(s.Storage.Known && s.Storage.FreeBytes < p.DiskFull, ReasonDiskFull)
	j.warn(s.Storage.Known && s.Storage.FreeBytes >= p.DiskFull && s.Storage.FreeBytes < p.DiskLow, WarnDiskLow)
	if s.SettingsAt == 0 {
		if s.SettingsFailure.Class == Answered {
			j.refuse(true, s.SettingsFailure.Reason)
		}
		j.refuse(true, ReasonNotObserved)
		return
	}
	j.refuse(!set.GTIDMode, ReasonGTIDModeOff)
	j.refuse(!set.GTIDStrictMode, ReasonGTIDStrictModeOff)
	j.refuse(!set.LogBin, ReasonBinaryLogOff)
	j.refuse(set.LogBin && set.BinlogFormat != "ROW", ReasonBinaryLogFormat)
	j.refuse(!set.LogReplicaUpdates, ReasonReplicaUpdatesNotLogged)
	j.refuse(set.ParallelWorkers > 1 && !set.PreserveCommitOrder, ReasonCommitOrder)
	j.refuse(set.InnoDBReadOnly || set.InnoDBForceRecovery > 0, ReasonInnoDBReadOnly)
	j.warn(set.SyncBinlog != 1 || set.FlushLogAtTrxCommit != 1, WarnDurabilityRelaxed)
	j.warn(set.SkipErrors != "" && set.SkipErrors != "OFF", WarnSkipErrors)
	j.warn(set.BootSemiSyncReplica == BootOn && set.BootSkipReplicaStart == BootOff, WarnBootAcker)
	j.warn(s.Counters.PreparedXA > 0, WarnPreparedXA)
	j.warn(s.Replication.ExtraChannels > 0, WarnExtraChannels)
}

// primary judges a server that is to be the primary.
func (j *judge) primary() {
	s, c := j.s, j.s.Commit
	j.refuse(s.ReadOnly, ReasonPrimaryReadOnly)
	j.v.Primary.CommitOK = commitFresh(*s, j.p)
	switch c.State {
	case CommitHung:
		j.v.Primary.Hung = true
		j.refuse(true, ReasonCommitHung)
	case CommitBlocked:
		j.v.Primary.Blocked = c.Reason
		j.warn(true, c.Reason)
	case CommitFailed:
		switch {
		case c.Failure.Class != Answered:
			// Silence is judged by the sample, which has a second connection.
		case c.Reason == ReasonDiskFull, c.Reason == ReasonDiskReadOnly:
			j.refuse(true, c.Reason)
		case c.Reason == ReasonPrimaryReadOnly:
			// The sample says what read_only is now; this is from before.
		default:
			// Too many connections, a missing privilege, a broken table: the
			// server lives, and our probe does not tell more.
			j.warn(true, c.Reason)
		}
	case CommitUnknown, CommitOK, CommitPending:
	}
	for _, r := range j.v.Reasons {
		switch r {
		case ReasonDiskFull, ReasonDiskReadOnly, ReasonInnoDBReadOnly:
			j.v.Primary.Failing = r
		}
	}
	j.warn(s.Replication.Configured && s.Replication.Receiver.State == ThreadRunning, WarnPrimaryReplicates)
	j.warn(s.Settings.SemiSync.SourceEnabled && s.CountersAt != 0 && !s.Counters.SemiSyncSource, WarnSemiSyncOff)
}

// replica judges a server that is to follow the primary.
func (j *judge) replica() {
	s, r := j.s, j.s.Replication
	j.warn(!s.ReadOnly || s.Version.Flavor == MySQL && !s.SuperReadOnly, WarnReplicaWritable)
	// STOP REPLICA makes every reader wait until it is through; while we seal,
	// that is our own doing.
	tooOld := s.ReplicationAt == 0 || s.At-s.ReplicationAt > 2*j.p.Timeout
	if tooOld && !s.Want.Sealed {
		if s.ReplicationFailure.Class == Answered {
			j.refuse(true, s.ReplicationFailure.Reason)
		}
		j.refuse(true, ReasonNotObserved)
	}
	if s.ReplicationAt == 0 {
		return
	}
	if !r.Configured {
		j.refuse(true, ReasonNotReplicating)
		return
	}
	// While we seal, a candidate may be fetching from a peer, or have tried to.
	j.refuse(wrongSource(s.Want, r) && !s.Want.Sealed, ReasonWrongSource)
	j.refuse(!r.AutoPosition, ReasonAutoPositionOff)
	j.receiver(r)
	j.refuse(r.Applier.State == ThreadStopped && r.Applier.ErrorNumber != 0, ReasonApplierError)
	j.refuse(r.Applier.State == ThreadStopped && r.Applier.ErrorNumber == 0 && !s.Want.Booted, ReasonApplierStopped)
	j.refuse(r.Delay > 0, ReasonDelayed)
	j.refuse(len(r.Filters) > 0 || len(s.Settings.Filters) > 0, ReasonFilters)
	for _, held := range s.Want.Siblings {
		j.warn(!held.Contains(s.Purged), WarnPurgedNeeded)
	}
	if r.SourceUUID != "" {
		j.warn(!s.Executed.BySource(r.SourceUUID).Holes().IsEmpty(), WarnExecutedHoles)
	}
}

// receiver judges the receiver. That it has lost its source says something
// about the source, and is never a reason against the replica: when the primary
// dies, every replica is in this state.
func (j *judge) receiver(r Replication) {
	lost := r.Receiver.ErrorNumber == 0 || sourceUnreachable(r.Receiver.ErrorNumber)
	switch r.Receiver.State {
	case ThreadRunning:
		return
	case ThreadConnecting:
		j.warn(true, WarnReceiverConnecting)
		j.refuse(!lost, ReasonReceiverError)
	case ThreadStopped:
		switch {
		case j.s.Want.Sealed:
		case r.Receiver.ErrorNumber == 0 && j.s.Want.Booted:
		case r.Receiver.ErrorNumber == 0:
			j.refuse(true, ReasonReceiverStopped)
		case lost:
			// It gave up after SOURCE_RETRY_COUNT tries.
			j.warn(true, WarnReceiverConnecting)
		case purgedOnSource(r.Receiver):
			j.refuse(true, ReasonNeedsPurged)
		default:
			j.refuse(true, ReasonReceiverError)
		}
	case ThreadUnknown:
		j.refuse(true, ReasonNotObserved)
	}
}

// sourceUnreachable reports whether a receiver's error is how a dead, dying or
// overloaded source looks to its replica.
func sourceUnreachable(number uint32) bool {
	switch number {
	case 2002, 2003, 2005, 2006, 2012, 2013, 2055, // CR_CONNECTION_ERROR and kin
		1158, 1159, 1160, 1161, // ER_NET_*
		1040, 1053, 1152, 1184, 1203, 3168, // full, or shutting down
		1927, 3169, 1317: // the dump thread was killed
		return true
	default:
		return false
	}
}

// purgedOnSource reports whether the receiver stopped because the source no
// longer has what it asked for: ER_MASTER_FATAL_ERROR_READING_BINLOG (1236), as
// MySQL 8.0.26 and later call it ER_SERVER_SOURCE_FATAL_ERROR_READING_BINLOG
// (13114).
func purgedOnSource(t Thread) bool {
	if t.ErrorNumber != 1236 && t.ErrorNumber != 13114 {
		return false
	}
	text := strings.ToLower(t.Error)
	return strings.Contains(text, "purged") || strings.Contains(text, "not in the master's binlog") ||
		strings.Contains(text, "could not find")
}

// wrongSource reports whether a replica follows somebody else than it should.
func wrongSource(want Expectation, r Replication) bool {
	if want.SourceUUID != "" && r.SourceUUID != "" {
		return want.SourceUUID != r.SourceUUID
	}
	if want.SourcePort != 0 && want.SourcePort != r.SourcePort {
		return true
	}
	return len(want.SourceHosts) > 0 &&
		!slices.ContainsFunc(want.SourceHosts, func(host string) bool { return sameHost(host, r.SourceHost) })
}

// sameHost compares names without regard to case and addresses by value.
func sameHost(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX == nil && errY == nil {
		return x.Unmap() == y.Unmap()
	}
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// errant finds what this server has executed and the primary has not.
//
// What the primary reports may be older than what we see of ourselves, so the
// newest of the primary's own transactions look errant for a moment. On MySQL
// they carry its UUID, and are told apart by that: everything else is errant at
// once, they only when the primary has not reported them for p.ErrantConfirm,
// and even then it may be waiting for an acknowledgement: that is a warning.
// MariaDB's GTIDs do not say who the primary was, so all of them wait.
func (j *judge) errant(prev Verdict) {
	s, want := j.s, j.s.Want
	m := &j.v.Memory
	if want.PrimaryExecuted.IsEmpty() || want.PrimaryExecuted.Contains(s.Executed) {
		m.Pending, m.PendingAt = gtid.Set{}, 0
		if want.PrimaryExecuted.IsEmpty() {
			j.v.Errant = prev.Errant // nothing is known that would clear it
			j.refuse(!j.v.Errant.IsEmpty(), ReasonErrant)
		}
		return
	}
	extra := s.Executed.Subtract(want.PrimaryExecuted)
	own := extra.BySource(want.SourceUUID)
	unsure := own
	if s.Version.Flavor == MariaDB {
		unsure = extra
	}
	if still := m.Pending.Intersect(unsure); m.PendingAt == 0 || still.IsEmpty() {
		m.Pending, m.PendingAt = unsure, s.At
	} else {
		m.Pending = still
	}
	late := !m.Pending.IsEmpty() && s.At-m.PendingAt >= j.p.ErrantConfirm
	if s.Version.Flavor == MariaDB {
		if late {
			j.v.Errant = m.Pending
		}
	} else {
		j.v.Errant = extra.Subtract(own)
		j.warn(late, WarnAheadOfPrimary)
	}
	j.refuse(!j.v.Errant.IsEmpty(), ReasonErrant)
}
