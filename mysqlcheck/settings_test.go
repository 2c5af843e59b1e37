// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"strings"
	"testing"
	"time"
)

func TestBoot(t *testing.T) {
	text := func(s string) *string { return &s }
	my := Version{Flavor: MySQL, Major: 8, Minor: 4}
	maria := Version{Flavor: MariaDB, Major: 10, Minor: 11}
	for _, tt := range []struct {
		name      string
		v         Version
		variables map[string]string
		origins   map[string]origin
		want      Boot
	}{
		{
			"my.cnf says ON", my,
			map[string]string{"super_read_only": "ON", "read_only": "ON"},
			map[string]origin{"super_read_only": {source: "EXPLICIT"}, "read_only": {source: "COMPILED"}},
			BootOn,
		},
		{
			"nobody says anything", my,
			map[string]string{"super_read_only": "OFF", "read_only": "OFF"},
			map[string]origin{"super_read_only": {source: "COMPILED"}, "read_only": {source: "COMPILED"}},
			BootOff,
		},
		{
			"opened at run time", my,
			map[string]string{"super_read_only": "OFF", "read_only": "OFF"},
			map[string]origin{"super_read_only": {source: "DYNAMIC"}, "read_only": {source: "COMPILED"}},
			BootUnknown,
		},
		{
			"opened by read_only alone", my,
			map[string]string{"super_read_only": "OFF", "read_only": "OFF"},
			map[string]origin{"super_read_only": {source: "EXPLICIT"}, "read_only": {source: "DYNAMIC"}},
			BootUnknown,
		},
		{
			"persisted ON, opened at run time", my,
			map[string]string{"super_read_only": "OFF", "read_only": "OFF"},
			map[string]origin{"super_read_only": {source: "DYNAMIC", persisted: text("ON")}, "read_only": {source: "DYNAMIC"}},
			BootOn,
		},
		{
			"persisted OFF, closed at run time", my,
			map[string]string{"super_read_only": "ON", "read_only": "ON"},
			map[string]origin{"super_read_only": {source: "DYNAMIC", persisted: text("OFF")}, "read_only": {source: "COMPILED"}},
			BootOff,
		},
		{"MariaDB's my.cnf says ON", maria, map[string]string{"read_only": "ON"}, map[string]origin{"read_only": {source: "CONFIG"}}, BootOn},
		{"MariaDB 12", maria, map[string]string{"read_only": "NO_LOCK"}, map[string]origin{"read_only": {source: "CONFIG"}}, BootOn},
		{"MariaDB, set at run time", maria, map[string]string{"read_only": "ON"}, map[string]origin{"read_only": {source: "SQL"}}, BootUnknown},
		{"MariaDB, nobody says anything", maria, map[string]string{"read_only": "OFF"}, map[string]origin{"read_only": {source: "COMPILE-TIME"}}, BootOff},
		{"nothing could be read", my, nil, nil, BootUnknown},
	} {
		if got := parseSettings(tt.v, tt.variables, tt.origins, nil).BootReadOnly; got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestParseSettingsOldNames(t *testing.T) {
	s := parseSettings(Version{Flavor: MySQL, Major: 8, Minor: 0, Patch: 23}, map[string]string{
		"log_slave_updates": "ON", "slave_parallel_workers": "8", "slave_preserve_commit_order": "ON", "slave_net_timeout": "60",
		"rpl_semi_sync_master_enabled": "ON", "rpl_semi_sync_master_timeout": "1000000000000000000", "rpl_semi_sync_master_wait_for_slave_count": "2",
		"gtid_mode": "ON_PERMISSIVE",
	}, map[string]origin{"skip_slave_start": {source: "COMPILED"}}, nil)
	if !s.LogReplicaUpdates || s.ParallelWorkers != 8 || !s.PreserveCommitOrder || s.NetTimeout != time.Minute || s.GTIDMode ||
		!s.SemiSync.SourceEnabled || s.SemiSync.WaitCount != 2 || s.SemiSync.Timeout < 200*365*24*time.Hour || s.BootSkipReplicaStart != BootOff {
		t.Errorf("%+v", s)
	}
}

// TestCheckSettings breaks one setting at a time.
func TestCheckSettings(t *testing.T) {
	if f := CheckSettings(goodReplica(t)); len(f) != 0 {
		t.Errorf("a good server: %+v", f)
	}
	for setting, tt := range map[string]struct {
		severity Severity
		fault    func(*Sample)
	}{
		"version":                        {Blocker, func(s *Sample) { s.Version = Version{Raw: "?"} }},
		"gtid_mode":                      {Blocker, func(s *Sample) { s.Settings.GTIDMode = false }},
		"gtid_strict_mode":               {Blocker, func(s *Sample) { s.Settings.GTIDStrictMode = false }},
		"log_bin":                        {Blocker, func(s *Sample) { s.Settings.LogBin = false }},
		"log_replica_updates":            {Blocker, func(s *Sample) { s.Settings.LogReplicaUpdates = false }},
		"binlog_format":                  {Blocker, func(s *Sample) { s.Settings.BinlogFormat = "MIXED" }},
		"server_id":                      {Blocker, func(s *Sample) { s.Settings.ServerID = 0 }},
		"innodb_read_only":               {Blocker, func(s *Sample) { s.Settings.InnoDBForceRecovery = 3 }},
		"super_read_only":                {Blocker, func(s *Sample) { s.Settings.BootReadOnly = BootOff }},
		"super_read_only=ON":             {Caution, func(s *Sample) { s.Settings.BootReadOnly = BootUnknown }},
		"skip_replica_start":             {Blocker, func(s *Sample) { s.Settings.BootSkipReplicaStart = BootOff }},
		"rpl_semi_sync_replica_enabled":  {Advice, func(s *Sample) { s.Settings.BootSemiSyncReplica = BootOn }},
		"sync_binlog":                    {Caution, func(s *Sample) { s.Settings.SyncBinlog = 1000 }},
		"innodb_flush_log_at_trx_commit": {Caution, func(s *Sample) { s.Settings.FlushLogAtTrxCommit = 2 }},
		"relay_log_recovery":             {Caution, func(s *Sample) { s.Settings.RelayLogRecovery = false }},
		"plugin_load_add":                {Caution, func(s *Sample) { s.Settings.SemiSync = SemiSync{} }},
		"rpl_semi_sync_source_wait_point": {Caution, func(s *Sample) {
			s.Settings.SemiSync.WaitPoint = "AFTER_COMMIT"
		}},
		"rpl_semi_sync_source_timeout": {Caution, func(s *Sample) {
			s.Settings.SemiSync.SourceEnabled, s.Settings.SemiSync.Timeout = true, 10*time.Second
		}},
		"replica_skip_errors":           {Caution, func(s *Sample) { s.Settings.SkipErrors = "all" }},
		"replication filters":           {Blocker, func(s *Sample) { s.Settings.Filters = []string{"x=y"} }},
		"replica_preserve_commit_order": {Blocker, func(s *Sample) { s.Settings.PreserveCommitOrder = false }},
		"replica_net_timeout":           {Caution, func(s *Sample) { s.Settings.NetTimeout = time.Minute }},
		"skip_name_resolve":             {Caution, func(s *Sample) { s.Settings.SkipNameResolve = false }},
		"binlog_expire_logs_seconds":    {Advice, func(s *Sample) { s.Settings.BinlogExpire = time.Hour }},
	} {
		s := goodReplica(t)
		tt.fault(&s)
		found := CheckSettings(s)
		name, _, _ := strings.Cut(setting, "=")
		if len(found) != 1 || !strings.Contains(found[0].Setting, name) || found[0].Severity != tt.severity || found[0].Fix == "" || found[0].Problem == "" {
			t.Errorf("%s: %+v", setting, found)
		}
	}
	s := goodReplica(t)
	s.Settings = Settings{}
	last := Blocker
	for _, f := range CheckSettings(s) {
		if f.Severity > last {
			t.Errorf("not worst first: %+v", f)
		}
		last = f.Severity
	}
}
