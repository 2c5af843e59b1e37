// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Flavor is a kind of server.
type Flavor string

// The flavours that setup.sh brings; MariaDB11 only with --extra.
const (
	MySQL     Flavor = "mysql"      // 9.7
	MariaDB   Flavor = "mariadb"    // 10.11
	MariaDB11 Flavor = "mariadb-11" // 11.8
)

// flavor says how to run one kind of server.
type flavor struct {
	program string
	share   string // below the root; where its messages, character sets and system tables are
	mariadb bool
	scripts string // MariaDB: how the names of the system tables' scripts begin
}

var flavors = map[Flavor]flavor{
	MySQL:     {program: "mysqld", share: "usr/share/mysql"},
	MariaDB:   {program: "mariadbd", share: "usr/share/mysql", mariadb: true, scripts: "mysql_"},
	MariaDB11: {program: "mariadbd-11", share: "usr/share/mariadb", mariadb: true, scripts: "mariadb_"},
}

// IsMariaDB reports whether the flavour speaks MariaDB's dialect.
func (f Flavor) IsMariaDB() bool { return flavors[f].mariadb }

// root is the directory into which setup.sh unpacked the server and its libraries.
func (f Flavor) root() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "roots", string(f)), nil
}

// baseOptions are the settings that a server needs at all times, also while its data directory is made: where its
// own files are, and as little memory as it runs well with.
func (f Flavor) baseOptions() ([]string, error) {
	root, err := f.root()
	if err != nil {
		return nil, err
	}
	share := filepath.Join(root, flavors[f].share)
	options := []string{
		"user=root", // The lab owns the directory; an account for the server would have to be made on the machine.
		"basedir=" + root + "/usr",
		"character-sets-dir=" + share + "/charsets",
		"lc_messages_dir=" + share,
		"secure_file_priv=", // MySQL's default is a directory of the installed package.
		"innodb_buffer_pool_size=32M",
		"innodb_log_buffer_size=1M",
		"table_open_cache=200",
		"table_definition_cache=400",
		"max_connections=100",
	}
	if f.IsMariaDB() {
		return append(options,
			"innodb_log_file_size=16M",
			"key_buffer_size=1M",
		), nil
	}
	return append(options,
		"plugin_dir="+root+"/usr/lib/mysql/plugin",
		"innodb_redo_log_capacity=16M",
	), nil
}

// serverOptions are the settings of a running server: those that Highwater asks for (docs/design.md §2, §5), and the
// semi-sync plugins loaded with every setting but whether they are on.
func serverOptions(c ServerConfig) []string {
	options := []string{
		fmt.Sprintf("server_id=%d", c.ServerID),
		fmt.Sprintf("port=%d", c.Port),
		"bind_address=" + c.Bind,
		"skip_name_resolve=ON",
		"log_bin=binlog",
		"relay_log=relay",
		"sync_binlog=1",
		"innodb_flush_log_at_trx_commit=1",
		"relay_log_recovery=ON",
		"performance_schema=ON",
		"performance_schema_digests_size=100",
		"performance_schema_events_statements_history_long_size=10",
		"performance_schema_events_waits_history_long_size=10",
	}
	if c.Flavor.IsMariaDB() {
		options = append(options,
			"skip_slave_start=ON",
			"binlog_format=ROW", // MySQL 9.7's default, and deprecated there
			"gtid_strict_mode=ON",
			"log_slave_updates=ON",
			"slave_net_timeout=4",
			// As good as for ever; MariaDB 10.11's CHANGE MASTER cannot say it. 0 is for ever only for a first connection:
			// a receiver that loses its connection twice before anything came ends without a word.
			"master_retry_count=1000000",
			"read_only="+onOff(c.ReadOnly),
			"rpl_semi_sync_master_enabled="+onOff(c.SemiSyncSource),
			"rpl_semi_sync_slave_enabled="+onOff(c.SemiSyncReplica),
			"rpl_semi_sync_master_wait_point=AFTER_SYNC",
			"rpl_semi_sync_master_wait_no_slave=ON",
			"rpl_semi_sync_master_timeout=1000000000000000000",
		)
		if c.AdminPort != 0 {
			options = append(options, fmt.Sprintf("extra_port=%d", c.AdminPort), "extra_max_connections=10")
		}
	} else {
		options = append(options,
			"mysqlx=OFF",
			"skip_replica_start=ON",
			"gtid_mode=ON",
			"enforce_gtid_consistency=ON",
			"log_replica_updates=ON",
			"replica_net_timeout=4",
			"super_read_only="+onOff(c.ReadOnly),
			"plugin_load_add=semisync_source.so;semisync_replica.so;mysql_clone.so",
			"rpl_semi_sync_source_enabled="+onOff(c.SemiSyncSource),
			"rpl_semi_sync_replica_enabled="+onOff(c.SemiSyncReplica),
			"rpl_semi_sync_source_wait_point=AFTER_SYNC",
			"rpl_semi_sync_source_wait_no_replica=ON",
			"rpl_semi_sync_source_timeout=1000000000000000000",
		)
		if c.AdminPort != 0 {
			options = append(options, "admin_address="+c.Address, fmt.Sprintf("admin_port=%d", c.AdminPort),
				"create_admin_listener_thread=ON")
		}
	}
	return append(options, c.Extra...)
}

func onOff(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}

// writeOptionFile writes a my.cnf.
func writeOptionFile(path string, options []string) error {
	text := "[mysqld]\n" + strings.Join(options, "\n") + "\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write option file: %w", err)
	}
	return nil
}
