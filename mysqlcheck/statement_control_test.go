// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"fmt"
	"testing"
	"time"
)

func TestChangeSource(t *testing.T) {
	plain := SourceOptions{
		Host: "10.0.0.12", Port: 3307, User: "repl-db1", Password: "secret",
		ConnectRetry: time.Second, RetryCount: 864000, Heartbeat: 1500 * time.Millisecond, PublicKey: true,
	}
	withTLS := plain
	withTLS.PublicKey, withTLS.TLS = false, &SourceTLS{CAFile: "/ca", CertFile: "/cert", KeyFile: "/key", Verify: true}
	withoutFiles := plain
	withoutFiles.TLS = &SourceTLS{}
	tests := []struct {
		name    string
		version Version
		options SourceOptions
		query   string
		args    string
	}{
		{
			"MySQL",
			Version{Flavor: MySQL, Major: 9, Minor: 7},
			plain,
			"CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = ?, SOURCE_USER = ?, SOURCE_PASSWORD = ?, SOURCE_CONNECT_RETRY = ?, " +
				"SOURCE_HEARTBEAT_PERIOD = ?, SOURCE_RETRY_COUNT = ?, SOURCE_AUTO_POSITION = ?, GET_SOURCE_PUBLIC_KEY = 1 FOR CHANNEL ''",
			"[10.0.0.12 3307 repl-db1 secret 1 1.5 864000 1]",
		},
		{
			"MySQL with TLS",
			Version{Flavor: MySQL, Major: 8, Minor: 0, Patch: 23},
			withTLS,
			"CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = ?, SOURCE_USER = ?, SOURCE_PASSWORD = ?, SOURCE_CONNECT_RETRY = ?, " +
				"SOURCE_HEARTBEAT_PERIOD = ?, SOURCE_SSL = ?, SOURCE_SSL_VERIFY_SERVER_CERT = ?, SOURCE_SSL_CA = ?, SOURCE_SSL_CERT = ?, SOURCE_SSL_KEY = ?, " +
				"SOURCE_RETRY_COUNT = ?, SOURCE_AUTO_POSITION = ? FOR CHANNEL ''",
			"[10.0.0.12 3307 repl-db1 secret 1 1.5 1 1 /ca /cert /key 864000 1]",
		},
		{
			"MySQL 8.0.22",
			Version{Flavor: MySQL, Major: 8, Minor: 0, Patch: 22},
			plain,
			"CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_USER = ?, MASTER_PASSWORD = ?, MASTER_CONNECT_RETRY = ?, " +
				"MASTER_HEARTBEAT_PERIOD = ?, MASTER_RETRY_COUNT = ?, MASTER_AUTO_POSITION = ?, GET_MASTER_PUBLIC_KEY = 1 FOR CHANNEL ''",
			"[10.0.0.12 3307 repl-db1 secret 1 1.5 864000 1]",
		},
		{
			"MariaDB",
			Version{Flavor: MariaDB, Major: 10, Minor: 11},
			withoutFiles,
			"CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_USER = ?, MASTER_PASSWORD = ?, MASTER_CONNECT_RETRY = ?, " +
				"MASTER_HEARTBEAT_PERIOD = ?, MASTER_SSL = ?, MASTER_SSL_VERIFY_SERVER_CERT = ?, MASTER_USE_GTID = slave_pos",
			"[10.0.0.12 3307 repl-db1 secret 1 1.5 1 0]",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			query, args := tt.version.ChangeSource(tt.options)
			if query != tt.query {
				t.Errorf("query\n%s, want\n%s", query, tt.query)
			}
			if got := fmt.Sprint(args); got != tt.args {
				t.Errorf("arguments %s, want %s", got, tt.args)
			}
		})
	}
}

func TestControlStatementsByVersion(t *testing.T) {
	old, middle, now := Version{Flavor: MySQL, Major: 8, Patch: 36}, Version{Flavor: MySQL, Major: 8, Minor: 4}, Version{Flavor: MySQL, Major: 9, Minor: 7}
	maria := Version{Flavor: MariaDB, Major: 10, Minor: 11}
	tests := []struct {
		statement Statement
		version   Version
		want      string // "" means none
	}{
		{StmtStopReceiver, old, "STOP REPLICA IO_THREAD FOR CHANNEL ''"},
		{StmtStopReceiver, maria, "STOP SLAVE IO_THREAD"},
		{StmtBinlogEnd, old, "SHOW MASTER STATUS"},
		{StmtBinlogEnd, middle, "SHOW BINARY LOG STATUS"},
		{StmtBinlogEnd, now, "SHOW BINARY LOG STATUS"},
		{StmtBinlogEnd, maria, "SHOW MASTER STATUS"},
		{StmtEventDisable, old, "ALTER DEFINER = {definer} EVENT {event} DISABLE ON SLAVE"},
		{StmtEventDisable, now, "ALTER DEFINER = {definer} EVENT {event} DISABLE ON REPLICA"},
		{StmtEventDisable, maria, "ALTER DEFINER = {definer} EVENT {event} DISABLE ON SLAVE"},
		{StmtReadOnlyMost, maria, ""},
		{StmtClone, maria, ""},
		{StmtExempt, now, ""},
		{StmtReceiver, maria, ""},
		{StmtSetReplicaPosition, now, ""},
	}
	for _, tt := range tests {
		got, ok := tt.version.SQL(tt.statement)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s on %s: %q, %v, want %q", tt.statement, tt.version, got, ok, tt.want)
		}
	}
}

// The two halves of the table share their names.
func TestStatementNamesAreUnique(t *testing.T) {
	for s := range controlStatements {
		if _, twice := probeStatements[s]; twice {
			t.Errorf("statement %q is in both halves of the table", s)
		}
	}
}

func TestFindSemiSync(t *testing.T) {
	if got := FindSemiSync(nil); got != (SemiSyncNames{}) {
		t.Errorf("without plugins: %+v", got)
	}
	old := map[string]string{"rpl_semi_sync_master_enabled": "ON", "rpl_semi_sync_slave_enabled": "OFF", "rpl_semi_sync_master_wait_for_slave_count": "1"}
	want := SemiSyncNames{
		SourceEnabled: "rpl_semi_sync_master_enabled", ReplicaEnabled: "rpl_semi_sync_slave_enabled",
		Acks: "rpl_semi_sync_master_wait_for_slave_count",
	}
	if got := FindSemiSync(old); got != want {
		t.Errorf("old plugin: %+v, want %+v", got, want)
	}
	// One plugin of each age: each variable by the name that is there.
	mixed := map[string]string{"rpl_semi_sync_source_enabled": "ON", "rpl_semi_sync_slave_enabled": "ON"}
	if got := FindSemiSync(mixed); got.SourceEnabled != "rpl_semi_sync_source_enabled" || got.ReplicaEnabled != "rpl_semi_sync_slave_enabled" {
		t.Errorf("mixed plugins: %+v", got)
	}
}
