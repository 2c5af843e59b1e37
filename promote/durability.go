// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"highwater/mysqlcheck"
)

// DurabilityReason says in one word what keeps a server from losing nothing. It
// is a log key, a metric label and a heading in the docs.
type DurabilityReason string

// Durability reasons.
const (
	// DurabilityNoSource: the source half of semi-sync is not loaded, so commits
	// cannot wait here.
	DurabilityNoSource DurabilityReason = "semi_sync_source_missing"
	// DurabilityNoReplica: the replica half is not, so it cannot acknowledge.
	DurabilityNoReplica DurabilityReason = "semi_sync_replica_missing"
	// DurabilityWaitPoint: the wait point is not AFTER_SYNC: others see a
	// transaction before it is acknowledged.
	DurabilityWaitPoint DurabilityReason = "wait_point"
	// DurabilityTimeout: the wait for an acknowledgement ends by itself.
	DurabilityTimeout DurabilityReason = "ack_timeout"
	// DurabilityRelaxed: sync_binlog or innodb_flush_log_at_trx_commit is not 1: a
	// crash loses what others have, and its GTIDs are given out again.
	DurabilityRelaxed DurabilityReason = "durability_relaxed"
	// DurabilityRelayLog: relay_log_recovery is off (MySQL): after a crash of the
	// host the relay log may be damaged.
	DurabilityRelayLog DurabilityReason = "relay_log_recovery_off"
	// DurabilityBootAcker: the server replicates or acknowledges at boot by itself,
	// before its supervisor knows whether it may.
	DurabilityBootAcker DurabilityReason = "boot_acker"
	// DurabilityBootUnknown: whether it does cannot be told, because semi-sync was
	// set at run time before the supervisor first looked.
	DurabilityBootUnknown DurabilityReason = "boot_acker_unknown"
)

// Weakness is one thing that stands between a server and durability: lossless.
type Weakness struct {
	Reason  DurabilityReason
	Setting string // as the server's manual calls it
	// Bars says that the server is not to be in S, nor the primary of a lossless
	// term, because of it. The others are set when a term begins, or only cost
	// time after a crash.
	Bars    bool
	Problem string
	Remedy  string // what to do, in a sentence
}

// Durability is what a server can promise.
type Durability struct {
	// StartID names the run of the server process that it holds for.
	StartID    string
	Weaknesses []Weakness
}

// Barred returns the weaknesses that bar the server.
func (d Durability) Barred() []Weakness {
	return slices.DeleteFunc(slices.Clone(d.Weaknesses), func(w Weakness) bool { return !w.Bars })
}

// Durability reads what the server can promise. What it says about its boot is
// remembered in the state directory, for semi-sync hides it once it is set.
func (s *Server) Durability(ctx context.Context) (Durability, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return Durability{}, fmt.Errorf("read durability: %w", err)
	}
	defer c.close()
	b, err := c.learnBoot(ctx)
	if err != nil {
		return Durability{}, fmt.Errorf("read durability: %w", err)
	}
	return c.durability(ctx, b)
}

// LookAtDurability is [Server.Durability] for those who only look: it knows what
// the supervisor has remembered in stateDir, and writes nothing.
func LookAtDurability(ctx context.Context, db *sql.DB, stateDir string) (Durability, error) {
	s := Server{cfg: Config{DB: db, StateDir: stateDir}}
	c, err := s.connect(ctx)
	if err != nil {
		return Durability{}, fmt.Errorf("read durability: %w", err)
	}
	defer c.close()
	b, _, err := c.boots(ctx)
	if err != nil {
		return Durability{}, fmt.Errorf("read durability: %w", err)
	}
	return c.durability(ctx, b)
}

// durability reads the rest of it.
func (c *session) durability(ctx context.Context, b boots) (Durability, error) {
	names, values, err := c.semiSyncSettings(ctx)
	if err != nil {
		return Durability{}, fmt.Errorf("read durability: %w", err)
	}
	err = c.query(ctx, mysqlcheck.StmtDurability, nil, func(rows *sql.Rows) error {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		values[name] = value
		return nil
	})
	if err != nil {
		return Durability{}, fmt.Errorf("read durability: %w", err)
	}
	d := Durability{StartID: b.StartID}
	d.judgeSemiSync(names, values)
	d.judgeDisk(c.version.Flavor, values)
	d.judgeBoot(names, b)
	return d, nil
}

func (d *Durability) add(reason DurabilityReason, setting string, bars bool, problem, remedy string) {
	d.Weaknesses = append(d.Weaknesses, Weakness{reason, setting, bars, problem, remedy})
}

// settingPlugins is where the halves of semi-sync are loaded from.
const settingPlugins = "plugin_load_add"

func (d *Durability) judgeSemiSync(names mysqlcheck.SemiSyncNames, values map[string]string) {
	if names.ReplicaEnabled == "" {
		d.add(DurabilityNoReplica, settingPlugins, true, "the server cannot acknowledge: the replica half of semi-sync is not loaded",
			"Add plugin_load_add=semisync_replica.so to my.cnf, or INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'.")
	}
	if names.SourceEnabled == "" {
		d.add(DurabilityNoSource, settingPlugins, true, "commits cannot wait for an acknowledgement: the source half of semi-sync is not loaded",
			"Add plugin_load_add=semisync_source.so to my.cnf, or INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'.")
		return
	}
	if values[names.WaitPoint] != "AFTER_SYNC" {
		d.add(DurabilityWaitPoint, names.WaitPoint, false, fmt.Sprintf("%s is %s: others see a transaction before it is acknowledged", names.WaitPoint, values[names.WaitPoint]),
			fmt.Sprintf("Set %s=AFTER_SYNC in my.cnf; a promotion sets it too.", names.WaitPoint))
	}
	if values[names.Timeout] != semiSyncForever {
		d.add(DurabilityTimeout, names.Timeout, false, fmt.Sprintf("%s is %s ms: after that a commit ends without an acknowledgement", names.Timeout, values[names.Timeout]),
			fmt.Sprintf("Set %s=%s in my.cnf; a promotion sets it too.", names.Timeout, semiSyncForever))
	}
}

func (d *Durability) judgeDisk(flavor mysqlcheck.Flavor, values map[string]string) {
	for _, name := range []string{"sync_binlog", "innodb_flush_log_at_trx_commit"} {
		if values[name] != "1" {
			d.add(DurabilityRelaxed, name, true, fmt.Sprintf("%s is %s: a crash loses commits that replicas have", name, values[name]),
				fmt.Sprintf("SET GLOBAL %s=1, and the same in my.cnf.", name))
		}
	}
	// With GTIDs MariaDB fetches anew whatever it had not applied.
	if flavor == mysqlcheck.MySQL && values["relay_log_recovery"] != "ON" && values["relay_log_recovery"] != "1" {
		d.add(DurabilityRelayLog, "relay_log_recovery", false, "relay_log_recovery is OFF: after a crash of the host the relay log may be damaged, and the applier stops on it",
			"Set relay_log_recovery=ON in my.cnf and restart the server.")
	}
}

func (d *Durability) judgeBoot(names mysqlcheck.SemiSyncNames, b boots) {
	switch {
	case b.Replicates == bootOn:
		d.add(DurabilityBootAcker, "skip_replica_start", true, "replication starts by itself at boot, from whatever source it had",
			"Set skip_replica_start=ON in my.cnf (RESET PERSIST skip_replica_start if it was persisted) and restart the server.")
	case b.Acknowledges == bootOn:
		d.add(DurabilityBootAcker, names.ReplicaEnabled, true, "semi-sync is on at boot: the server may acknowledge before its supervisor knows whether it may",
			"Set rpl_semi_sync_replica_enabled=OFF (MariaDB: rpl_semi_sync_slave_enabled) in my.cnf, and RESET PERSIST it if it was persisted.")
	case b.Acknowledges == bootUnknown && b.Replicates != bootOff:
		d.add(DurabilityBootUnknown, names.ReplicaEnabled, true, "semi-sync was set at run time before Highwater looked, so what it is at boot cannot be told",
			"Make sure that rpl_semi_sync_slave_enabled (MySQL: rpl_semi_sync_replica_enabled) is not ON in my.cnf, and restart the server.")
	}
}

// boot is what a setting is right after the server's start.
type boot string

const (
	bootUnknown boot = ""
	bootOn      boot = "on"
	bootOff     boot = "off"
)

// boots is what a server does at boot by itself.
type boots struct {
	StartID string `json:"start_id"`
	// Replicates says whether replication starts. MariaDB does not tell.
	Replicates   boot `json:"replicates,omitempty"`
	Acknowledges boot `json:"acknowledges,omitempty"`
}

// bootFile holds the boots of the last run of the server in which they were
// known, in Config.StateDir.
const bootFile = "boot.json"

// boots reads what the server does at boot, and what is remembered of that. Once
// semi-sync is set at run time, and whoever acknowledges has set it, neither
// flavour tells any more what it was: then what is remembered holds, for as long
// as the server process runs.
func (c *session) boots(ctx context.Context) (b, saved boots, err error) {
	_, startID, err := mysqlcheck.Identity(ctx, c.conn, c.version)
	if err != nil {
		return boots{}, boots{}, err
	}
	b.StartID = startID
	err = c.query(ctx, mysqlcheck.StmtBootSettings, nil, func(rows *sql.Rows) error {
		var name, value, origin string
		var persisted sql.NullString
		if err := rows.Scan(&name, &value, &origin, &persisted); err != nil {
			return err
		}
		switch name {
		case "skip_replica_start", "skip_slave_start":
			b.Replicates = bootOf(value, origin, persisted).not()
		default:
			b.Acknowledges = bootOf(value, origin, persisted)
		}
		return nil
	})
	if err != nil {
		return boots{}, boots{}, err
	}
	if saved, err = loadBoots(c.server.cfg.StateDir); err != nil {
		return boots{}, boots{}, err
	}
	if b.Acknowledges == bootUnknown && saved.StartID == b.StartID {
		b.Acknowledges = saved.Acknowledges
	}
	return b, saved, nil
}

// learnBoot is boots that saves what it has read.
func (c *session) learnBoot(ctx context.Context) (boots, error) {
	b, saved, err := c.boots(ctx)
	if err != nil || b.Acknowledges == bootUnknown || b == saved {
		return b, err
	}
	if err := writeJSON(c.server.cfg.StateDir, bootFile, b); err != nil {
		return boots{}, fmt.Errorf("save %s: %w", bootFile, err)
	}
	return b, nil
}

// bootOf is what a setting is after a start: mysqld-auto.cnf is read last and
// wins, and a value set at run time hides what my.cnf says.
func bootOf(value, origin string, persisted sql.NullString) boot {
	switch {
	case persisted.Valid:
		value = persisted.String
	case origin == "DYNAMIC", origin == "SQL":
		return bootUnknown
	}
	if value == "ON" || value == "1" {
		return bootOn
	}
	return bootOff
}

func (b boot) not() boot {
	switch b {
	case bootOn:
		return bootOff
	case bootOff:
		return bootOn
	default:
		return b
	}
}

// loadBoots reads what was remembered. A file that cannot be read is as good as
// none: what is not known is not assumed.
func loadBoots(dir string) (boots, error) {
	text, err := os.ReadFile(filepath.Join(dir, bootFile))
	if errors.Is(err, fs.ErrNotExist) {
		return boots{}, nil
	}
	if err != nil {
		return boots{}, fmt.Errorf("read %s: %w", bootFile, err)
	}
	var b boots
	if json.Unmarshal(text, &b) != nil {
		return boots{}, nil
	}
	return b, nil
}

// rememberBoot is for before semi-sync is set. What is remembered of this run of
// the server is not asked again.
func (c *session) rememberBoot(ctx context.Context) error {
	_, startID, err := mysqlcheck.Identity(ctx, c.conn, c.version)
	if err != nil {
		return err
	}
	saved, err := loadBoots(c.server.cfg.StateDir)
	if err != nil || saved.StartID == startID && saved.Acknowledges != bootUnknown {
		return err
	}
	_, err = c.learnBoot(ctx)
	return err
}
