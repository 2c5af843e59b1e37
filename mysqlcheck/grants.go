// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Account is a database account.
type Account struct {
	User, Host string
	Password   string
}

// Accounts are those that Highwater uses.
type Accounts struct {
	// Supervisor is the account of the supervisor on its own server. It looks
	// and it controls; Host is "localhost" for a unix socket.
	Supervisor Account
	// Replication are the accounts by which replicas fetch, one per node, so
	// that each can be locked by itself.
	Replication []Account
	// Schema holds the heartbeat table; "" means "highwater".
	Schema string
	// Lossless adds what `durability: lossless` needs.
	Lossless bool
}

// privilege is one grant, on the releases where it is known by that name.
type privilege struct {
	flavor       Flavor
	since, until release
	name         string
	on           string // "" means *.*; {schema} is replaced
	lossless     bool   // only with Accounts.Lossless
}

// supervisorPrivileges are what the statements of the table need, and no more.
var supervisorPrivileges = []privilege{
	// Looking.
	{flavor: MySQL, name: "REPLICATION CLIENT"},
	{flavor: MySQL, name: "PROCESS"},
	{flavor: MySQL, name: "XA_RECOVER_ADMIN"},
	{flavor: MySQL, name: "SELECT", on: "performance_schema.*"},
	{flavor: MariaDB, name: "BINLOG MONITOR"},
	{flavor: MariaDB, since: release{10, 5, 9}, name: "SLAVE MONITOR"},
	{flavor: MariaDB, name: "PROCESS"},
	// Who may write past read_only: information_schema shows other accounts
	// only to those who may read the schema mysql.
	{flavor: MariaDB, name: "SELECT", on: "mysql.*"},
	// Which replicas acknowledge.
	{flavor: MariaDB, name: "SELECT", on: "performance_schema.*"},

	// Controlling replication, read_only, semi-sync, and ending sessions.
	{flavor: MySQL, name: "REPLICATION_SLAVE_ADMIN"},
	{flavor: MySQL, name: "SYSTEM_VARIABLES_ADMIN"},
	{flavor: MySQL, name: "CONNECTION_ADMIN"},
	{flavor: MariaDB, name: "REPLICATION SLAVE ADMIN"},
	{flavor: MariaDB, name: "REPLICATION MASTER ADMIN"},
	{flavor: MariaDB, name: "READ_ONLY ADMIN"},
	{flavor: MariaDB, name: "CONNECTION ADMIN"},
	{flavor: MariaDB, name: "BINLOG ADMIN"}, // sql_log_bin
	{name: "RELOAD"},                        // RESET REPLICA

	// Locking the account of a replica that must not acknowledge.
	{name: "CREATE USER", lossless: true},
	// Telling a missing account from a wrong password.
	{flavor: MySQL, name: "SELECT", on: "mysql.user"},

	// Reading the end of a fenced primary's binary log.
	{flavor: MySQL, name: "REPLICATION SLAVE"},

	// Events are switched with the role, under their own definer.
	{name: "EVENT"},
	{flavor: MySQL, until: release{8, 2}, name: "SET_USER_ID"},
	{flavor: MySQL, since: release{8, 2}, name: "SET_ANY_DEFINER"},
	{flavor: MySQL, since: release{8, 2}, name: "ALLOW_NONEXISTENT_DEFINER"},
	{flavor: MariaDB, name: "SET USER"},

	// Rebuilding by CLONE.
	{flavor: MySQL, name: "CLONE_ADMIN"},
	{flavor: MySQL, name: "INSERT", on: "mysql.plugin"},

	// The heartbeat table.
	{name: "SELECT", on: "{schema}.*"},
	{name: "INSERT", on: "{schema}.*"},
	{name: "UPDATE", on: "{schema}.*"},
	{name: "CREATE", on: "{schema}.*"},
}

// replicationPrivileges are what a replica needs on its source, CLONE included.
var replicationPrivileges = []privilege{
	{name: "REPLICATION SLAVE"},
	{flavor: MySQL, name: "BACKUP_ADMIN"},
}

// needed returns the privileges for a server, by what they are granted on, and
// those in a fixed order.
func needed(v Version, list []privilege, schema string, lossless bool) (levels []string, byLevel map[string][]string) {
	byLevel = make(map[string][]string)
	for _, p := range list {
		if p.lossless && !lossless || !(variant{flavor: p.flavor, since: p.since, until: p.until}).holds(v) {
			continue
		}
		level := "*.*"
		if p.on != "" {
			level = strings.ReplaceAll(p.on, "{schema}", quoteName(schema))
		}
		if _, ok := byLevel[level]; !ok {
			levels = append(levels, level)
		}
		byLevel[level] = append(byLevel[level], p.name)
	}
	return levels, byLevel
}

// Grants returns the statements that create the accounts with the least
// privileges for this server's version. They are meant for the primary, and
// replicate from there. An account that exists keeps its password.
func Grants(v Version, a Accounts) []string {
	schema := a.Schema
	if schema == "" {
		schema = "highwater"
	}
	var statements []string
	account := func(who Account, list []privilege) {
		name := quoteText(who.User) + "@" + quoteText(who.Host)
		statements = append(statements, fmt.Sprintf("CREATE USER IF NOT EXISTS %s IDENTIFIED BY %s", name, quoteText(who.Password)))
		levels, byLevel := needed(v, list, schema, a.Lossless)
		for _, level := range levels {
			statements = append(statements, fmt.Sprintf("GRANT %s ON %s TO %s", strings.Join(byLevel[level], ", "), level, name))
		}
	}
	account(a.Supervisor, supervisorPrivileges)
	for _, r := range a.Replication {
		account(r, replicationPrivileges)
	}
	return statements
}

func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

// CheckGrants returns what the connected account lacks of what [Grants] gives
// the supervisor, each as "PRIVILEGE ON level". schema is that of the heartbeat
// table; "" means "highwater".
func CheckGrants(ctx context.Context, q Queryer, schema string, lossless bool) (missing []string, err error) {
	if schema == "" {
		schema = "highwater"
	}
	v, err := ServerVersion(ctx, q)
	if err != nil {
		return nil, err
	}
	text, _ := v.SQL(StmtGrants)
	rows, err := q.QueryContext(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("show grants: %w", err)
	}
	defer rows.Close()
	held := make(map[string][]string)
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, fmt.Errorf("show grants: %w", err)
		}
		level, names := parseGrant(line)
		held[level] = append(held[level], names...)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("show grants: %w", err)
	}
	levels, byLevel := needed(v, supervisorPrivileges, schema, lossless)
	for _, level := range levels {
		for _, name := range byLevel[level] {
			if !holds(held, level, name) {
				missing = append(missing, name+" ON "+level)
			}
		}
	}
	return missing, nil
}

// holds reports whether the privilege is held on the level or above it.
func holds(held map[string][]string, level, name string) bool {
	level = strings.ReplaceAll(level, "`", "")
	schema, _, _ := strings.Cut(level, ".")
	for _, at := range []string{"*.*", schema + ".*", level} {
		if slices.ContainsFunc(held[at], func(h string) bool { return samePrivilege(h, name) }) {
			return true
		}
	}
	return false
}

// samePrivilege knows that MariaDB prints some names otherwise than it reads
// them, and that ALL is all.
func samePrivilege(held, name string) bool {
	if held == "ALL" || held == "ALL PRIVILEGES" {
		return true
	}
	words := strings.NewReplacer("REPLICA MONITOR", "SLAVE MONITOR", "READ ONLY", "READ_ONLY",
		"REPLICATION REPLICA", "REPLICATION SLAVE")
	return words.Replace(held) == name
}

// parseGrant reads a line of SHOW GRANTS, "GRANT a, b ON level TO account", and
// returns the level without quotes and the privileges. What is no such line,
// such as the grant of a role, has no privileges.
func parseGrant(line string) (level string, names []string) {
	rest, ok := strings.CutPrefix(line, "GRANT ")
	if !ok {
		return "", nil
	}
	list, rest, ok := strings.Cut(rest, " ON ")
	if !ok {
		return "", nil
	}
	level, _, ok = strings.Cut(rest, " TO ")
	if !ok {
		return "", nil
	}
	depth, start := 0, 0
	for i, r := range list + "," {
		switch r {
		case '(': // columns
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				if name := strings.TrimSpace(list[start:i]); name != "" {
					names = append(names, strings.ToUpper(name))
				}
				start = i + 1
			}
		}
	}
	level = strings.TrimPrefix(level, "TABLE ")
	return strings.ReplaceAll(level, "`", ""), names
}
