// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An Account is one that Bootstrap makes.
type Account struct{ User, Password string }

// The accounts of a bootstrapped lab. Each host has a replication account of its own (docs/design.md §5), see
// Host.ReplicationUser, with ReplicationPassword.
var (
	App     = Account{"app", "app"}             // reads and writes in Database
	Control = Account{"highwater", "highwater"} // Highwater's own
)

// ReplicationPassword is that of every replication account.
const ReplicationPassword = "repl"

// Database is where the application writes; the Writer's table is Database.writes.
const Database = "lab"

// ReplicationUser is the account with which this host replicates from any other.
func (h *Host) ReplicationUser() string { return "repl-" + h.name }

// Bootstrap makes db1 the writable primary, with all accounts and the Writer's table, and has every other host
// follow it; it returns when all have everything, and with Config.SemiSync when all acknowledge. It is what an
// administrator does by hand before Highwater is there: plain SQL, and nobody holds the VIP.
func (l *Lab) Bootstrap(ctx context.Context) error {
	primary := l.hosts[0]
	d := l.dialect()
	statements := []string{
		d.openWrites,
		"CREATE DATABASE " + Database,
		"CREATE TABLE " + Database + ".writes (client INT NOT NULL, seq BIGINT NOT NULL, " +
			"host VARCHAR(60) NOT NULL, PRIMARY KEY (client, seq))",
		createUser(App),
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON " + Database + ".* TO '" + App.User + "'@'%'",
		createUser(Control),
	}
	if l.config.ControlGrants != nil {
		statements = append(statements, l.config.ControlGrants...)
	} else {
		statements = append(statements, "GRANT ALL PRIVILEGES ON *.* TO '"+Control.User+"'@'%' WITH GRANT OPTION")
	}
	for _, h := range l.hosts {
		statements = append(statements,
			createUser(Account{h.ReplicationUser(), ReplicationPassword}),
			"GRANT "+d.replicationGrants+" ON *.* TO '"+h.ReplicationUser()+"'@'%'")
	}
	if err := primary.Server.Exec(ctx, statements...); err != nil {
		return fmt.Errorf("bootstrap %s: %w", primary.name, err)
	}
	replicas := l.hosts[1:]
	for _, h := range replicas {
		if err := h.Follow(ctx, primary); err != nil {
			return err
		}
	}
	if l.config.SemiSync && len(replicas) > 0 {
		// Not before the replicas are there: nothing could be committed.
		if err := primary.Server.Exec(ctx, "SET GLOBAL "+d.semiSyncSource+"=ON"); err != nil {
			return fmt.Errorf("bootstrap %s: %w", primary.name, err)
		}
		if err := primary.waitClients(ctx, len(replicas)); err != nil {
			return err
		}
	}
	return l.WaitReplicas(ctx, primary, replicas...)
}

func createUser(a Account) string {
	return "CREATE USER '" + a.User + "'@'%' IDENTIFIED BY '" + a.Password + "'"
}

// dialect is the SQL in which the flavours differ, as far as the lab speaks it.
type dialect struct {
	semiSyncSource, semiSyncReplica, semiSyncClients string
	replicationGrants                                string
	openWrites, closeWrites                          string
	stopReplica, startReplica, changeSource          string
	wait                                             string // position, seconds -> 0 when reached
}

func (l *Lab) dialect() dialect {
	if l.config.Flavor.IsMariaDB() {
		return dialect{
			semiSyncSource:    "rpl_semi_sync_master_enabled",
			semiSyncReplica:   "rpl_semi_sync_slave_enabled",
			semiSyncClients:   "Rpl_semi_sync_master_clients",
			replicationGrants: "REPLICATION SLAVE",
			openWrites:        "SET GLOBAL read_only=OFF",
			closeWrites:       "SET GLOBAL read_only=ON",
			stopReplica:       "STOP SLAVE",
			startReplica:      "START SLAVE",
			changeSource: "CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USER='%s', MASTER_PASSWORD='%s', " +
				"MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1",
			wait: "SELECT MASTER_GTID_WAIT(?, ?)",
		}
	}
	return dialect{
		semiSyncSource:    "rpl_semi_sync_source_enabled",
		semiSyncReplica:   "rpl_semi_sync_replica_enabled",
		semiSyncClients:   "Rpl_semi_sync_source_clients",
		replicationGrants: "REPLICATION SLAVE, BACKUP_ADMIN", // the latter for CLONE
		openWrites:        "SET GLOBAL read_only=OFF",
		closeWrites:       "SET GLOBAL super_read_only=ON",
		stopReplica:       "STOP REPLICA",
		startReplica:      "START REPLICA",
		changeSource: "CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_PORT=%d, SOURCE_USER='%s', SOURCE_PASSWORD='%s', " +
			"SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=100000, SOURCE_HEARTBEAT_PERIOD=1, " +
			"GET_SOURCE_PUBLIC_KEY=1",
		wait: "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)",
	}
}

// Follow makes the host a read-only replica of another. With Config.SemiSync it acknowledges.
func (h *Host) Follow(ctx context.Context, source *Host) error {
	d := h.lab.dialect()
	change := fmt.Sprintf(d.changeSource, source.address, MySQLPort, h.ReplicationUser(), ReplicationPassword)
	noSource := "SET GLOBAL " + d.semiSyncSource + "=OFF" // see Config.SemiSync
	err := h.Server.Exec(ctx, d.closeWrites, d.stopReplica, noSource)
	if err == nil {
		err = h.setSemiSyncReplica(ctx)
	}
	if err == nil {
		err = h.Server.Exec(ctx, change, d.startReplica)
	}
	if err != nil {
		return fmt.Errorf("have %s follow %s: %w", h.name, source.name, err)
	}
	return nil
}

// setSemiSyncReplica has the host acknowledge or not, as Config.SemiSync says. What is so
// already is not set: MariaDB shows what a setting was at boot only until it is set.
func (h *Host) setSemiSyncReplica(ctx context.Context) error {
	name, want := h.lab.dialect().semiSyncReplica, "0"
	if h.lab.config.SemiSync {
		want = "1"
	}
	have, err := h.Server.QueryString(ctx, "SELECT @@global."+name)
	if err != nil || have == want {
		return err
	}
	return h.Server.Exec(ctx, "SET GLOBAL "+name+"="+want)
}

// SetWritable opens the host's server for writes, or closes it, as an administrator would.
func (h *Host) SetWritable(ctx context.Context, writable bool) error {
	d := h.lab.dialect()
	if writable {
		return h.Server.Exec(ctx, d.openWrites)
	}
	return h.Server.Exec(ctx, d.closeWrites)
}

// WaitReplicas waits until the given hosts have applied all that the source has committed so far.
func (l *Lab) WaitReplicas(ctx context.Context, source *Host, replicas ...*Host) error {
	position, err := source.Server.ExecutedGTIDs(ctx)
	if err != nil {
		return err
	}
	for _, h := range replicas {
		for {
			// In short rounds: the function knows nothing of the context.
			left, err := h.Server.QueryString(ctx, l.dialect().wait, position, 1)
			if err != nil {
				return fmt.Errorf("wait for %s to have %s: %w", h.name, position, err)
			}
			if left == "0" {
				break
			}
		}
	}
	return nil
}

// waitClients waits until n replicas acknowledge.
func (h *Host) waitClients(ctx context.Context, n int) error {
	name := h.lab.dialect().semiSyncClients
	for {
		var ignored, value string
		if err := h.Server.db.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(&ignored, &value); err != nil {
			return fmt.Errorf("read %s of %s: %w", name, h.name, err)
		}
		if value == fmt.Sprint(n) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %d semi-sync replicas of %s: there are %s", n, h.name, value), ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
