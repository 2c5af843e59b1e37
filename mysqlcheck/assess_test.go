// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"highwater/mysqlcheck/gtid"
)

const (
	uuidPrimary = "11111111-1111-1111-1111-111111111111"
	uuidReplica = "22222222-2222-2222-2222-222222222222"
	uuidOther   = "33333333-3333-3333-3333-333333333333"
)

func set(t testing.TB, text string) gtid.Set {
	t.Helper()
	s, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// goodSettings are those of a server with nothing to complain about.
func goodSettings() Settings {
	return Settings{
		ServerID: 1, GTIDMode: true, GTIDStrictMode: true, LogBin: true, LogReplicaUpdates: true, BinlogFormat: "ROW",
		SyncBinlog: 1, FlushLogAtTrxCommit: 1, ParallelWorkers: 4, PreserveCommitOrder: true, SkipErrors: "OFF",
		RelayLogRecovery: true, NetTimeout: 4 * time.Second, SkipNameResolve: true, BinlogExpire: 30 * 24 * time.Hour,
		SemiSync:     SemiSync{Available: true, WaitPoint: "AFTER_SYNC", WaitCount: 1},
		BootReadOnly: BootOn, BootSkipReplicaStart: BootOn, BootSemiSyncReplica: BootOff,
	}
}

// goodReplica is a sample of a replica with nothing to complain about.
func goodReplica(t testing.TB) Sample {
	all := set(t, uuidPrimary+":1-100")
	at := 1000 * time.Second
	return Sample{
		At: at, Took: time.Millisecond,
		Want: Expectation{
			Role: RoleReplica, SourceHosts: []string{"10.0.0.11", "db1"}, SourcePort: 3306, SourceUUID: uuidPrimary,
			PrimaryExecuted: all,
		},
		Process: Process{Known: true, Alive: true, Pid: 42},
		Version: Version{Flavor: MySQL, Major: 8, Minor: 4, Patch: 3}, ServerUUID: uuidReplica, StartID: "start-1",
		ReadOnly: true, SuperReadOnly: true,
		Executed: all,
		Replication: Replication{
			Configured: true, SourceHost: "10.0.0.11", SourcePort: 3306, SourceUUID: uuidPrimary, AutoPosition: true,
			HeartbeatPeriod: time.Second,
			Receiver:        Thread{State: ThreadRunning}, Applier: Thread{State: ThreadRunning},
			Received: all, EventAge: Age{Value: 300 * time.Millisecond, Known: true},
		},
		ReplicationAt: at, Settings: goodSettings(), SettingsAt: at, CountersAt: at,
		Storage: Storage{Known: true, FreeBytes: 100 << 30, TotalBytes: 200 << 30},
	}
}

func goodPrimary(t testing.TB) Sample {
	s := goodReplica(t)
	s.Want = Expectation{Role: RolePrimary}
	s.ServerUUID = uuidPrimary
	s.ReadOnly, s.SuperReadOnly = false, false
	s.Replication = Replication{}
	s.Commit = CommitResult{State: CommitOK, At: s.At - 100*time.Millisecond, Took: time.Millisecond}
	return s
}

func mariaReplica(t testing.TB) Sample {
	s := goodReplica(t)
	s.Version = Version{Flavor: MariaDB, Major: 10, Minor: 11, Patch: 6}
	s.Executed = set(t, "0-1-100")
	s.Replication.Received = s.Executed
	s.Replication.SourceUUID, s.Want.SourceUUID, s.ServerUUID = "1", "1", "2"
	s.Want.PrimaryExecuted = s.Executed
	return s
}

// settled is the verdict after enough good samples.
func settled(t testing.TB, s Sample) Verdict {
	t.Helper()
	v := Verdict{}
	for i := range 3 {
		before := s
		before.At -= time.Duration(3-i) * time.Second
		before.ReplicationAt -= time.Duration(3-i) * time.Second
		v = Assess(before, v, Policy{})
	}
	if !v.Eligible {
		t.Fatalf("reasons %v", v.Reasons)
	}
	return v
}

// TestAssess has one entry for every reason and warning, each a single fault in
// a sample that is otherwise good.
func TestAssess(t *testing.T) {
	answered := func(n uint16, r Reason) Failure { return Failure{Class: Answered, Number: n, Reason: r} }
	silence := Failure{Class: TimedOut, Reason: ReasonServerSilent}
	full := []Reason{WarnLagging}
	tests := []struct {
		name     string
		base     func(testing.TB) Sample
		fault    func(*Sample)
		reasons  []Reason
		warnings []Reason
		check    func(*testing.T, Verdict)
	}{
		{name: "good replica", base: goodReplica, check: func(t *testing.T, v Verdict) {
			if v.Health != HealthAlive || !v.CaughtUp || !v.LagKnown || v.Lag != 0 || v.Queue != 0 || !v.DrainFits || v.Writable || v.SourceSilent {
				t.Errorf("%+v", v)
			}
		}},
		{name: "good primary", base: goodPrimary, check: func(t *testing.T, v Verdict) {
			if !v.Primary.CommitOK || v.Primary.Hung || v.Primary.Blocked != "" || v.Primary.Failing != "" || !v.Writable || !v.CaughtUp {
				t.Errorf("%+v", v)
			}
		}},
		{name: "good MariaDB replica", base: mariaReplica},

		// Not observed.
		{name: "process gone", base: goodPrimary, fault: func(s *Sample) {
			s.Process = Process{Known: true}
			s.Failure = Failure{Class: Dropped, Reason: ReasonServerSilent}
		}, reasons: []Reason{ReasonServerDead}, check: health(HealthDead, false)},
		{name: "refused, process not known", base: goodPrimary, fault: func(s *Sample) {
			s.Process = Process{}
			s.Failure = Failure{Class: Refused, Reason: ReasonServerDead}
		}, reasons: []Reason{ReasonServerDead}, check: health(HealthDead, false)},
		{name: "refused, process alive", base: goodPrimary, fault: func(s *Sample) {
			s.Failure = Failure{Class: Refused, Reason: ReasonServerDead}
		}, reasons: []Reason{ReasonServerShuttingDown}, check: health(HealthAlive, false)},
		{name: "dying: connection dropped at once", base: goodPrimary, fault: func(s *Sample) {
			s.Failure, s.Took = Failure{Class: Dropped, Reason: ReasonServerSilent}, time.Millisecond
		}, reasons: []Reason{ReasonServerSilent}, check: health(HealthUnknown, false)},
		{
			name: "primary silent", base: goodPrimary, fault: func(s *Sample) { s.Failure = silence },
			reasons: []Reason{ReasonServerHung}, check: health(HealthUnknown, true),
		},
		{
			name: "replica silent", base: goodReplica, fault: func(s *Sample) { s.Failure = silence },
			reasons: []Reason{ReasonServerHung}, check: health(HealthUnknown, false),
		},
		{
			name: "too many connections", base: goodPrimary, fault: func(s *Sample) { s.Failure = answered(1040, ReasonTooManyConnections) },
			reasons: []Reason{ReasonTooManyConnections}, check: health(HealthAlive, false),
		},
		{
			name: "wrong password", base: goodPrimary, fault: func(s *Sample) { s.Failure = answered(1045, ReasonAccessDenied) },
			reasons: []Reason{ReasonAccessDenied}, check: health(HealthAlive, false),
		},
		{name: "an error that goes with a hung commit", base: goodPrimary, fault: func(s *Sample) {
			s.Failure = answered(1040, ReasonTooManyConnections)
			s.Commit = CommitResult{State: CommitHung, Reason: ReasonCommitHung}
		}, reasons: []Reason{ReasonTooManyConnections}, check: health(HealthAlive, true)},
		{name: "settings never read", base: goodReplica, fault: func(s *Sample) { s.SettingsAt = 0 }, reasons: []Reason{ReasonNotObserved}},
		{name: "settings refused", base: goodReplica, fault: func(s *Sample) {
			s.SettingsAt, s.SettingsFailure = 0, answered(1142, ReasonPrivilegeMissing)
		}, reasons: []Reason{ReasonPrivilegeMissing, ReasonNotObserved}},
		{
			name: "replication state too old", base: goodReplica, fault: func(s *Sample) { s.ReplicationAt -= 3 * time.Second },
			reasons: []Reason{ReasonNotObserved},
		},
		{name: "replication state refused", base: goodReplica, fault: func(s *Sample) {
			s.ReplicationAt, s.ReplicationFailure = 0, answered(1142, ReasonPrivilegeMissing)
		}, reasons: []Reason{ReasonPrivilegeMissing, ReasonNotObserved}},
		{name: "old version", base: goodReplica, fault: func(s *Sample) { s.Version.Minor, s.Version.Patch = 0, 21 }, reasons: []Reason{ReasonVersionUnsupported}},
		{name: "offline mode", base: goodReplica, fault: func(s *Sample) { s.OfflineMode = true }, reasons: []Reason{ReasonOfflineMode}},

		// Prerequisites.
		{name: "no GTIDs", base: goodReplica, fault: func(s *Sample) { s.Settings.GTIDMode = false }, reasons: []Reason{ReasonGTIDModeOff}},
		{name: "not strict", base: mariaReplica, fault: func(s *Sample) { s.Settings.GTIDStrictMode = false }, reasons: []Reason{ReasonGTIDStrictModeOff}},
		{name: "no binary log", base: goodReplica, fault: func(s *Sample) { s.Settings.LogBin = false }, reasons: []Reason{ReasonBinaryLogOff}},
		{name: "statements", base: goodReplica, fault: func(s *Sample) { s.Settings.BinlogFormat = "STATEMENT" }, reasons: []Reason{ReasonBinaryLogFormat}},
		{name: "updates not logged", base: goodReplica, fault: func(s *Sample) { s.Settings.LogReplicaUpdates = false }, reasons: []Reason{ReasonReplicaUpdatesNotLogged}},
		{name: "commit order", base: goodReplica, fault: func(s *Sample) { s.Settings.PreserveCommitOrder = false }, reasons: []Reason{ReasonCommitOrder}},
		{name: "one worker needs no order", base: goodReplica, fault: func(s *Sample) {
			s.Settings.PreserveCommitOrder, s.Settings.ParallelWorkers = false, 1
		}},
		{
			name: "innodb_read_only", base: goodPrimary, fault: func(s *Sample) { s.Settings.InnoDBReadOnly = true }, reasons: []Reason{ReasonInnoDBReadOnly},
			check: failing(ReasonInnoDBReadOnly),
		},
		{name: "innodb_force_recovery", base: goodReplica, fault: func(s *Sample) { s.Settings.InnoDBForceRecovery = 1 }, reasons: []Reason{ReasonInnoDBReadOnly}},
		{name: "disk full", base: goodPrimary, fault: func(s *Sample) { s.Storage.FreeBytes = 1 << 20 }, reasons: []Reason{ReasonDiskFull}, check: failing(ReasonDiskFull)},
		{name: "disk nearly full", base: goodReplica, fault: func(s *Sample) { s.Storage.FreeBytes = 500 << 20 }, warnings: []Reason{WarnDiskLow}},
		{name: "disk read-only", base: goodPrimary, fault: func(s *Sample) { s.Storage.ReadOnly = true }, reasons: []Reason{ReasonDiskReadOnly}, check: failing(ReasonDiskReadOnly)},
		{name: "disk not seen", base: goodReplica, fault: func(s *Sample) { s.Storage = Storage{} }},

		// Replicas.
		{name: "no source", base: goodReplica, fault: func(s *Sample) { s.Replication = Replication{} }, reasons: []Reason{ReasonNotReplicating}, warnings: full},
		{name: "wrong UUID", base: goodReplica, fault: func(s *Sample) { s.Replication.SourceUUID = uuidOther }, reasons: []Reason{ReasonWrongSource}},
		{name: "right UUID by another name", base: goodReplica, fault: func(s *Sample) { s.Replication.SourceHost = "primary.example" }},
		{name: "never connected, right name", base: goodReplica, fault: func(s *Sample) { s.Replication.SourceUUID, s.Replication.SourceHost = "", "DB1." }},
		{name: "never connected, address in another form", base: goodReplica, fault: func(s *Sample) {
			s.Replication.SourceUUID, s.Replication.SourceHost = "", "::ffff:10.0.0.11"
		}},
		{name: "never connected, wrong name", base: goodReplica, fault: func(s *Sample) { s.Replication.SourceUUID, s.Replication.SourceHost = "", "db3" }, reasons: []Reason{ReasonWrongSource}},
		{name: "never connected, wrong port", base: goodReplica, fault: func(s *Sample) { s.Replication.SourceUUID, s.Replication.SourcePort = "", 3307 }, reasons: []Reason{ReasonWrongSource}},
		{name: "by file and offset", base: goodReplica, fault: func(s *Sample) { s.Replication.AutoPosition = false }, reasons: []Reason{ReasonAutoPositionOff}},
		{name: "receiver connecting", base: goodReplica, fault: receiver(ThreadConnecting, 2003, "Can't connect"), warnings: []Reason{WarnReceiverConnecting}},
		{name: "receiver connecting, no error yet", base: goodReplica, fault: receiver(ThreadConnecting, 0, ""), warnings: []Reason{WarnReceiverConnecting}},
		{name: "receiver gave up", base: goodReplica, fault: receiver(ThreadStopped, 2003, "Can't connect"), warnings: []Reason{WarnReceiverConnecting}},
		{name: "receiver refused by a living source", base: goodReplica, fault: receiver(ThreadConnecting, 1045, "Access denied"), reasons: []Reason{ReasonReceiverError}, warnings: []Reason{WarnReceiverConnecting}},
		{name: "receiver stopped", base: goodReplica, fault: receiver(ThreadStopped, 0, ""), reasons: []Reason{ReasonReceiverStopped}},
		{name: "receiver sealed", base: goodReplica, fault: func(s *Sample) {
			receiver(ThreadStopped, 0, "")(s)
			s.Want.Sealed = true
		}},
		{name: "sealed while STOP REPLICA runs", base: goodReplica, fault: func(s *Sample) {
			s.ReplicationAt -= 3 * time.Second
			s.Want.Sealed = true
		}},
		{name: "receiver error", base: goodReplica, fault: receiver(ThreadStopped, 13117, "relay log write failure"), reasons: []Reason{ReasonReceiverError}},
		{name: "source purged", base: goodReplica, fault: receiver(ThreadStopped, 13114, "Got fatal error 1236 from source ... has purged required"), reasons: []Reason{ReasonNeedsPurged}},
		{name: "ahead of the source", base: goodReplica, fault: receiver(ThreadStopped, 13114, "Replica has more GTIDs than the source has"), reasons: []Reason{ReasonReceiverError}},
		{name: "receiver unknown", base: goodReplica, fault: receiver(ThreadUnknown, 0, ""), reasons: []Reason{ReasonNotObserved}},
		{name: "applier stopped", base: goodReplica, fault: func(s *Sample) { s.Replication.Applier.State = ThreadStopped }, reasons: []Reason{ReasonApplierStopped}},
		{name: "booted, nobody to follow", base: goodReplica, fault: func(s *Sample) {
			s.Want.Booted = true
			s.Replication.Receiver.State, s.Replication.Applier.State = ThreadStopped, ThreadStopped
		}},
		{name: "booted, applier error", base: goodReplica, fault: func(s *Sample) {
			s.Want.Booted = true
			s.Replication.Receiver.State, s.Replication.Applier = ThreadStopped, Thread{ThreadStopped, 1062, "Duplicate"}
		}, reasons: []Reason{ReasonApplierError}},
		{name: "applier error", base: goodReplica, fault: func(s *Sample) { s.Replication.Applier = Thread{ThreadStopped, 1062, "Duplicate"} }, reasons: []Reason{ReasonApplierError}},
		{name: "delayed", base: goodReplica, fault: func(s *Sample) { s.Replication.Delay = time.Hour }, reasons: []Reason{ReasonDelayed}},
		{name: "filters (MySQL)", base: goodReplica, fault: func(s *Sample) { s.Settings.Filters = []string{"REPLICATE_DO_DB=a"} }, reasons: []Reason{ReasonFilters}},
		{name: "filters (MariaDB)", base: mariaReplica, fault: func(s *Sample) { s.Replication.Filters = []string{"Replicate_Do_DB=a"} }, reasons: []Reason{ReasonFilters}},
		{
			name: "errant", base: goodReplica, fault: func(s *Sample) { s.Executed = set(t, uuidPrimary+":1-100,"+uuidReplica+":1-2") }, reasons: []Reason{ReasonErrant},
			check: func(t *testing.T, v Verdict) {
				if v.Errant.String() != uuidReplica+":1-2" {
					t.Errorf("errant %q", v.Errant)
				}
			},
		},
		{name: "newer than what the primary reported", base: goodReplica, fault: func(s *Sample) { s.Executed = set(t, uuidPrimary+":1-101") }},
		{name: "MariaDB newer than what the primary reported", base: mariaReplica, fault: func(s *Sample) { s.Executed = set(t, "0-1-101") }},
		{name: "writable", base: goodReplica, fault: func(s *Sample) { s.ReadOnly, s.SuperReadOnly = false, false }, warnings: []Reason{WarnReplicaWritable}},
		{name: "writable for SUPER", base: goodReplica, fault: func(s *Sample) { s.SuperReadOnly = false }, warnings: []Reason{WarnReplicaWritable}},
		{name: "MariaDB has no super_read_only", base: mariaReplica, fault: func(s *Sample) { s.SuperReadOnly = false }},
		{name: "sibling needs purged", base: goodReplica, fault: func(s *Sample) {
			s.Purged = set(t, uuidPrimary+":1-50")
			s.Want.Siblings = map[string]gtid.Set{"db3": set(t, uuidPrimary+":1-49")}
		}, warnings: []Reason{WarnPurgedNeeded}},
		{name: "sibling has what is purged", base: goodReplica, fault: func(s *Sample) {
			s.Purged = set(t, uuidPrimary+":1-50")
			s.Want.Siblings = map[string]gtid.Set{"db3": set(t, uuidPrimary+":1-50")}
		}},
		{name: "holes", base: goodReplica, fault: func(s *Sample) { s.Executed = set(t, uuidPrimary+":1-90:92-100") }, warnings: []Reason{WarnExecutedHoles}},
		{
			name: "source silent", base: goodReplica, fault: func(s *Sample) { s.Replication.EventAge.Value = 5 * time.Second }, warnings: []Reason{WarnSourceSilent},
			check: func(t *testing.T, v Verdict) {
				if v.LagKnown || v.Lag != 5*time.Second || !v.CaughtUp || !v.SourceSilent {
					t.Errorf("%+v", v)
				}
			},
		},
		{
			name: "source silent for long", base: goodReplica, fault: func(s *Sample) { s.Replication.EventAge.Value = 11 * time.Second },
			warnings: []Reason{WarnSourceSilent, WarnLagging}, check: func(t *testing.T, v Verdict) {
				if v.CaughtUp || !v.DrainFits {
					t.Errorf("%+v", v)
				}
			},
		},
		{
			name: "nothing heard from the source yet", base: goodReplica, fault: func(s *Sample) { s.Replication.EventAge = Age{} }, warnings: []Reason{WarnLagging},
			check: func(t *testing.T, v Verdict) {
				if v.LagKnown || v.CaughtUp || v.SourceSilent {
					t.Errorf("%+v", v)
				}
			},
		},
		{name: "extra channel", base: goodReplica, fault: func(s *Sample) { s.Replication.ExtraChannels = 1 }, warnings: []Reason{WarnExtraChannels}},
		{name: "errors skipped", base: goodReplica, fault: func(s *Sample) { s.Settings.SkipErrors = "1062" }, warnings: []Reason{WarnSkipErrors}},
		{name: "sync_binlog", base: goodReplica, fault: func(s *Sample) { s.Settings.SyncBinlog = 0 }, warnings: []Reason{WarnDurabilityRelaxed}},
		{name: "boot acker", base: goodReplica, fault: func(s *Sample) {
			s.Settings.BootSemiSyncReplica, s.Settings.BootSkipReplicaStart = BootOn, BootOff
		}, warnings: []Reason{WarnBootAcker}},
		{name: "prepared XA", base: goodPrimary, fault: func(s *Sample) { s.Counters.PreparedXA = 1 }, warnings: []Reason{WarnPreparedXA}},

		// Primaries.
		{name: "read-only primary", base: goodPrimary, fault: func(s *Sample) { s.ReadOnly = true }, reasons: []Reason{ReasonPrimaryReadOnly}},
		{name: "hung commit", base: goodPrimary, fault: commit(CommitHung, ReasonCommitHung, Failure{}), reasons: []Reason{ReasonCommitHung}, check: health(HealthAlive, true)},
		{name: "commit waits for acknowledgement", base: goodPrimary, fault: commit(CommitBlocked, WarnCommitWaitsForAck, Failure{}), warnings: []Reason{WarnCommitWaitsForAck}, check: blocked(WarnCommitWaitsForAck)},
		{name: "commit behind FTWRL", base: goodPrimary, fault: commit(CommitBlocked, WarnCommitWaitsForGlobalLock, Failure{}), warnings: []Reason{WarnCommitWaitsForGlobalLock}, check: blocked(WarnCommitWaitsForGlobalLock)},
		{name: "commit behind a lock", base: goodPrimary, fault: commit(CommitBlocked, WarnCommitWaitsForLock, Failure{}), warnings: []Reason{WarnCommitWaitsForLock}, check: blocked(WarnCommitWaitsForLock)},
		{name: "commit behind a commit", base: goodPrimary, fault: commit(CommitBlocked, WarnCommitWaitsForCommit, Failure{}), warnings: []Reason{WarnCommitWaitsForCommit}, check: blocked(WarnCommitWaitsForCommit)},
		{name: "commit pending", base: goodPrimary, fault: commit(CommitPending, "", Failure{}), check: health(HealthAlive, false)},
		{name: "disk full at commit", base: goodPrimary, fault: commit(CommitFailed, ReasonDiskFull, answered(1021, ReasonDiskFull)), reasons: []Reason{ReasonDiskFull}, check: failing(ReasonDiskFull)},
		{name: "disk read-only at commit", base: goodPrimary, fault: commit(CommitFailed, ReasonDiskReadOnly, answered(1030, ReasonDiskReadOnly)), reasons: []Reason{ReasonDiskReadOnly}, check: failing(ReasonDiskReadOnly)},
		{name: "commit refused for want of privileges", base: goodPrimary, fault: commit(CommitFailed, ReasonPrivilegeMissing, answered(1142, ReasonPrivilegeMissing)), warnings: []Reason{ReasonPrivilegeMissing}},
		{name: "commit failed", base: goodPrimary, fault: commit(CommitFailed, ReasonCommitFailed, answered(1105, ReasonProbeFailed)), warnings: []Reason{ReasonCommitFailed}},
		{name: "commit failed while read_only was on", base: goodPrimary, fault: commit(CommitFailed, ReasonPrimaryReadOnly, answered(1290, ReasonPrimaryReadOnly))},
		{name: "commit connection lost", base: goodPrimary, fault: commit(CommitFailed, ReasonServerSilent, Failure{Class: Dropped, Reason: ReasonServerSilent})},
		{name: "primary replicates", base: goodPrimary, fault: func(s *Sample) {
			s.Replication = Replication{Configured: true, Receiver: Thread{State: ThreadRunning}}
		}, warnings: []Reason{WarnPrimaryReplicates}},
		{name: "semi-sync fell back", base: goodPrimary, fault: func(s *Sample) { s.Settings.SemiSync.SourceEnabled = true }, warnings: []Reason{WarnSemiSyncOff}},
	}
	covered := map[Reason]bool{
		// Each has a test of its own below.
		ReasonSettling: true, ReasonCrashLoop: true, WarnAheadOfPrimary: true, WarnDrainTooLong: true, ReasonServerSilent: true,
		// These differ from others only in their number: TestClassify.
		ReasonHostDenied: true, ReasonTLSFailed: true, ReasonProbeFailed: true,
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.base(t)
			prev := settled(t, s)
			if tt.fault != nil {
				tt.fault(&s)
			}
			v := Assess(s, prev, Policy{})
			if !slices.Equal(v.Reasons, tt.reasons) {
				t.Errorf("reasons %v, want %v", v.Reasons, tt.reasons)
			}
			if !slices.Equal(v.Warnings, tt.warnings) {
				t.Errorf("warnings %v, want %v", v.Warnings, tt.warnings)
			}
			if v.Eligible != (len(tt.reasons) == 0) {
				t.Errorf("eligible %t with reasons %v", v.Eligible, v.Reasons)
			}
			if tt.check != nil {
				tt.check(t, v)
			}
		})
		for _, r := range append(tt.reasons, tt.warnings...) {
			covered[r] = true
		}
	}
	for _, r := range Reasons() {
		if !covered[r] {
			t.Errorf("no test for %s", r)
		}
	}
}

func health(h Health, hung bool) func(*testing.T, Verdict) {
	return func(t *testing.T, v Verdict) {
		t.Helper()
		if v.Health != h || v.Primary.Hung != hung {
			t.Errorf("%s, hung %t; want %s, hung %t", v.Health, v.Primary.Hung, h, hung)
		}
	}
}

func failing(r Reason) func(*testing.T, Verdict) {
	return func(t *testing.T, v Verdict) {
		t.Helper()
		if v.Primary.Failing != r || v.Primary.Hung {
			t.Errorf("%+v, want failing %s", v.Primary, r)
		}
	}
}

func blocked(r Reason) func(*testing.T, Verdict) {
	return func(t *testing.T, v Verdict) {
		t.Helper()
		if v.Primary.Blocked != r || v.Primary.Hung || v.Primary.CommitOK {
			t.Errorf("%+v, want blocked by %s", v.Primary, r)
		}
	}
}

func receiver(state ThreadState, number uint32, text string) func(*Sample) {
	return func(s *Sample) { s.Replication.Receiver = Thread{state, number, text} }
}

func commit(state CommitState, r Reason, f Failure) func(*Sample) {
	return func(s *Sample) {
		s.Commit = CommitResult{State: state, At: s.At - 9*time.Second, Took: 9 * time.Second, Reason: r, Failure: f}
	}
}

// TestRoleUnknown: with no primary known, the state of replication is no reason.
func TestRoleUnknown(t *testing.T) {
	s := goodReplica(t)
	s.Want = Expectation{}
	s.Replication.Receiver.State, s.Replication.Applier.State = ThreadStopped, ThreadStopped
	s.Replication.Delay = time.Hour
	if v := settled(t, s); len(v.Reasons) != 0 {
		t.Errorf("reasons %v", v.Reasons)
	}
}

// TestHysteresis feeds rows of good (g), bad (b) and silent (s) samples.
func TestHysteresis(t *testing.T) {
	for _, tt := range []struct {
		rise, fall int
		samples    string
		eligible   string // after each: y, n
	}{
		{2, 1, "ggbgg", "nynny"},
		{3, 2, "gggbgbb", "nnyyyyn"},
		{1, 3, "gbbgbbb", "yyyyyyn"},
		{2, 2, "ggsgss", "nyyyyn"},
		{2, 1, "ggsgg", "nynny"},
		{0, 0, "ggb", "nyn"}, // the defaults are 2 and 1
	} {
		v := Verdict{}
		s := goodReplica(t)
		got := ""
		for _, c := range tt.samples {
			s.At += time.Second
			s.ReplicationAt = s.At
			s.Replication.Delay, s.Failure = 0, Failure{}
			switch c {
			case 'b':
				s.Replication.Delay = time.Second
			case 's':
				s.Failure = Failure{Class: TimedOut, Reason: ReasonServerSilent}
			}
			v = Assess(s, v, Policy{Rise: tt.rise, Fall: tt.fall})
			got += map[bool]string{true: "y", false: "n"}[v.Eligible]
			if c == 'g' && !v.Eligible && words(v.Reasons) != string(ReasonSettling) {
				t.Errorf("rise %d fall %d %s: a good sample has reasons %v", tt.rise, tt.fall, tt.samples, v.Reasons)
			}
		}
		if got != tt.eligible {
			t.Errorf("rise %d fall %d %s: eligible %s, want %s", tt.rise, tt.fall, tt.samples, got, tt.eligible)
		}
	}
}

// TestSilence: unknown until check.fall, hung from then on, and one answer of
// any kind ends it.
func TestSilence(t *testing.T) {
	s := goodPrimary(t)
	v := settled(t, s)
	silent := s
	silent.Failure = Failure{Class: TimedOut, Reason: ReasonServerSilent}
	p := Policy{Fall: 3}
	for i := 1; i <= 4; i++ {
		v = Assess(silent, v, p)
		want, hung := ReasonServerSilent, false
		if i >= 3 {
			want, hung = ReasonServerHung, true
		}
		if words(v.Reasons) != string(want) || v.Primary.Hung != hung || v.Health != HealthUnknown {
			t.Errorf("after %d: %v, hung %t, %s", i, v.Reasons, v.Primary.Hung, v.Health)
		}
		if !v.Executed.Equal(s.Executed) || v.ServerUUID != s.ServerUUID {
			t.Errorf("after %d what was known is forgotten: %+v", i, v)
		}
	}
	full := s
	full.Failure = Failure{Class: Answered, Number: 1040, Reason: ReasonTooManyConnections}
	if w := Assess(full, v, p); w.Primary.Hung || w.Health != HealthAlive || w.Memory.Silent != 0 {
		t.Errorf("an answer: %+v", w)
	}
	if w := Assess(s, v, p); w.Primary.Hung || w.Health != HealthAlive {
		t.Errorf("a good sample: %+v", w)
	}
}

// TestDeathIsAtOnce: no hysteresis keeps a dead server eligible, or a new
// process from having to prove itself.
func TestDeathIsAtOnce(t *testing.T) {
	s := goodReplica(t)
	v := settled(t, s)
	p := Policy{Fall: 10}
	dead := s
	dead.Process = Process{Known: true}
	dead.Failure = Failure{Class: Refused, Reason: ReasonServerDead}
	if w := Assess(dead, v, p); w.Eligible || w.Health != HealthDead {
		t.Errorf("dead: %+v", w)
	}
	restarted := s
	restarted.StartID = "start-2"
	if w := Assess(restarted, v, p); w.Eligible || words(w.Reasons) != string(ReasonSettling) {
		t.Errorf("restarted: eligible %t, reasons %v", w.Eligible, w.Reasons)
	}
}

func TestCrashLoop(t *testing.T) {
	s := goodReplica(t)
	v := settled(t, s)
	for i := range 3 {
		s.At += time.Minute
		s.ReplicationAt = s.At
		s.StartID = "restart" + string(rune('0'+i))
		v = Assess(s, v, Policy{})
		if got := hasReason(v.Reasons, ReasonCrashLoop); got != (i == 2) {
			t.Errorf("after %d restarts: %v", i+1, v.Reasons)
		}
	}
	s.At += 9 * time.Minute
	s.ReplicationAt = s.At
	if v = Assess(s, v, Policy{}); hasReason(v.Reasons, ReasonCrashLoop) {
		t.Errorf("ten minutes after the first restart: %v", v.Memory.Starts)
	}
}

// TestCrashLoopRebuilt: the restart that ends a rebuild is none of a crash loop,
// nor are those of the data that are gone.
func TestCrashLoopRebuilt(t *testing.T) {
	s := goodReplica(t)
	v := settled(t, s)
	for i, rebuilt := range []bool{false, false, true, false, false, false} {
		s.At += time.Second
		s.ReplicationAt = s.At
		s.StartID = "restart" + string(rune('0'+i))
		s.Want.Rebuilt = rebuilt
		v = Assess(s, v, Policy{})
		if got := hasReason(v.Reasons, ReasonCrashLoop); got != (i == 5) {
			t.Errorf("restart %d, rebuilt %t: %v", i+1, rebuilt, v.Reasons)
		}
		if v.Eligible {
			t.Errorf("restart %d: eligible at once", i+1)
		}
	}
}

// TestErrantNeedsTime: the newest transactions of the primary look errant until
// it reports them; those that it goes on not to report do not stay unnoticed.
func TestErrantNeedsTime(t *testing.T) {
	for _, tt := range []struct {
		name    string
		base    func(testing.TB) Sample
		ahead   string
		late    func(Verdict) bool
		message string
	}{
		{"MySQL", goodReplica, uuidPrimary + ":1-105", func(v Verdict) bool {
			return v.Errant.IsEmpty() && v.Eligible && hasReason(v.Warnings, WarnAheadOfPrimary)
		}, "a warning"},
		{"MariaDB", mariaReplica, "0-1-105", func(v Verdict) bool {
			return v.Errant.Count() == 5 && hasReason(v.Reasons, ReasonErrant)
		}, "errant"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.base(t)
			v := settled(t, s)
			s.Executed = set(t, tt.ahead)
			for range 10 {
				v = Assess(s, v, Policy{ErrantConfirm: 3 * time.Second})
				if !v.Errant.IsEmpty() || len(v.Reasons)+len(v.Warnings) != 0 {
					t.Fatalf("at once: errant %q, reasons %v, warnings %v", v.Errant, v.Reasons, v.Warnings)
				}
				s.At += 290 * time.Millisecond
				s.ReplicationAt = s.At
			}
			confirmed := s
			confirmed.Want.PrimaryExecuted = s.Executed
			if w := Assess(confirmed, v, Policy{}); !w.Errant.IsEmpty() || w.Memory.PendingAt != 0 {
				t.Errorf("reported by the primary: %+v", w.Memory)
			}
			s.At += time.Second
			s.ReplicationAt = s.At
			if v = Assess(s, v, Policy{ErrantConfirm: 3 * time.Second}); !tt.late(v) {
				t.Errorf("after 3 s want %s: errant %q, reasons %v, warnings %v", tt.message, v.Errant, v.Reasons, v.Warnings)
			}
		})
	}
}

// TestErrantUnderLoad: a primary that always reports a little late makes nobody
// errant.
func TestErrantUnderLoad(t *testing.T) {
	for _, base := range []func(testing.TB) Sample{goodReplica, mariaReplica} {
		s := base(t)
		v := settled(t, s)
		prefix := uuidPrimary + ":1-"
		if s.Version.Flavor == MariaDB {
			prefix = "0-1-"
		}
		for i := range 100 {
			s.At += 250 * time.Millisecond
			s.ReplicationAt = s.At
			s.Executed = set(t, prefix+decimal(1000+100*i))
			s.Want.PrimaryExecuted = set(t, prefix+decimal(950+100*i))
			v = Assess(s, v, Policy{})
			if !v.Eligible || len(v.Warnings) != 0 || !v.Errant.IsEmpty() {
				t.Fatalf("%s, step %d: reasons %v, warnings %v", s.Version.Flavor, i, v.Reasons, v.Warnings)
			}
		}
	}
}

// TestErrantIsRemembered: when the primary is gone, so is what it reported.
func TestErrantIsRemembered(t *testing.T) {
	s := goodReplica(t)
	v := settled(t, s)
	s.Executed = set(t, uuidPrimary+":1-100,"+uuidReplica+":1")
	v = Assess(s, v, Policy{})
	s.Want.PrimaryExecuted = gtid.Set{}
	if v = Assess(s, v, Policy{}); v.Errant.IsEmpty() || !hasReason(v.Reasons, ReasonErrant) {
		t.Errorf("errant %q, reasons %v", v.Errant, v.Reasons)
	}
}

// TestAssessIsPure: the same in, the same out, and the arguments untouched.
func TestAssessIsPure(t *testing.T) {
	s := goodReplica(t)
	s.StartID = "start-2"
	prev := settled(t, goodReplica(t))
	prev.Memory.Starts = append(make([]time.Duration, 0, 8), s.At-time.Second)
	kept := prev
	kept.Memory.Starts = slices.Clone(prev.Memory.Starts)
	first, second := Assess(s, prev, Policy{}), Assess(s, prev, Policy{})
	if !reflect.DeepEqual(first, second) || !reflect.DeepEqual(prev, kept) {
		t.Error("Assess is not pure")
	}
}
