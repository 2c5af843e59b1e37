// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"slices"
	"strings"
	"testing"
)

func TestParseGrant(t *testing.T) {
	for _, tt := range []struct {
		line, level string
		names       []string
	}{
		{"GRANT PROCESS, REPLICATION CLIENT ON *.* TO `highwater`@`localhost`", "*.*", []string{"PROCESS", "REPLICATION CLIENT"}},
		{"GRANT SELECT ON `performance_schema`.* TO `h`@`l`", "performance_schema.*", []string{"SELECT"}},
		{"GRANT SELECT (a, b), INSERT ON `x`.`y` TO `h`@`l`", "x.y", []string{"SELECT (A, B)", "INSERT"}},
		{"GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION", "*.*", []string{"ALL PRIVILEGES"}},
		{"GRANT `role`@`%` TO `h`@`l`", "", nil},
		{"GRANT USAGE ON *.* TO `h`@`l` IDENTIFIED BY PASSWORD '*0123'", "*.*", []string{"USAGE"}},
		{"", "", nil},
		{"SET DEFAULT ROLE x FOR y", "", nil},
	} {
		level, names := parseGrant(tt.line)
		if level != tt.level || !slices.Equal(names, tt.names) {
			t.Errorf("%q: %q %q", tt.line, level, names)
		}
	}
}

func FuzzParseGrant(f *testing.F) {
	f.Add("GRANT SELECT (a, b), INSERT ON `x`.`y` TO `h`@`l`")
	f.Add("GRANT ) ON ( TO ")
	f.Fuzz(func(t *testing.T, line string) {
		level, names := parseGrant(line)
		if strings.Contains(level, "`") {
			t.Errorf("level %q", level)
		}
		for _, name := range names {
			if name == "" || strings.TrimSpace(name) != name {
				t.Errorf("%q: privilege %q", line, name)
			}
		}
	})
}

func TestGrants(t *testing.T) {
	a := Accounts{
		Supervisor:  Account{User: "highwater", Host: "localhost", Password: `a'b\`},
		Replication: []Account{{User: "repl-db1", Host: "10.0.0.%", Password: "r"}},
		Schema:      "odd`name",
	}
	for _, v := range releases {
		all := strings.Join(Grants(v, a), "\n")
		for want, expected := range map[string]bool{
			`IDENTIFIED BY 'a''b\\'`:                      true,
			"ON `odd``name`.* TO 'highwater'@'localhost'": true,
			"TO 'repl-db1'@'10.0.0.%'":                    true,
			"SUPER":                                       false,
			"GRANT OPTION":                                false,
			"CREATE USER, ":                               false, // lossless only
			"SET_USER_ID":                                 v.Flavor == MySQL && !v.AtLeast(8, 2, 0),
			"SET_ANY_DEFINER":                             v.Flavor == MySQL && v.AtLeast(8, 2, 0),
			"READ_ONLY ADMIN":                             v.Flavor == MariaDB,
			"SLAVE MONITOR":                               v.Flavor == MariaDB && v.AtLeast(10, 5, 9),
		} {
			if strings.Contains(all, want) != expected {
				t.Errorf("%s: contains %q: %t\n%s", v, want, !expected, all)
			}
		}
	}
}

func TestHolds(t *testing.T) {
	held := map[string][]string{
		"*.*":         {"PROCESS", "REPLICA MONITOR", "READ ONLY ADMIN"},
		"highwater.*": {"ALL PRIVILEGES"},
		"mysql.*":     {"INSERT"},
	}
	for level, names := range map[string]map[string]bool{
		"*.*":                  {"PROCESS": true, "RELOAD": false, "SLAVE MONITOR": true, "READ_ONLY ADMIN": true},
		"`highwater`.*":        {"INSERT": true},
		"mysql.plugin":         {"INSERT": true, "SELECT": false},
		"performance_schema.*": {"SELECT": false, "PROCESS": true},
	} {
		for name, want := range names {
			if got := holds(held, level, name); got != want {
				t.Errorf("%s ON %s: %t", name, level, got)
			}
		}
	}
}
