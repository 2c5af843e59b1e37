// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for _, tt := range []struct {
		version, comment string
		want             string
		supported        bool
	}{
		{"9.7.4-2", "(Debian)", "MySQL 9.7.4", true},
		{"8.4.3", "MySQL Community Server - GPL", "MySQL 8.4.3", true},
		{"8.0.36-28", "Percona Server (GPL), Release 28", "MySQL 8.0.36", true},
		{"8.0.22", "", "MySQL 8.0.22", true},
		{"8.0.21", "", "MySQL 8.0.21", false},
		{"5.7.44-log", "", "MySQL 5.7.44", false},
		{"10.11.19-MariaDB-0+deb12u1-log", "Debian 12", "MariaDB 10.11.19", true},
		{"5.5.5-10.6.18-MariaDB", "", "MariaDB 10.6.18", true},
		{"12.0.2-MariaDB", "", "MariaDB 12.0.2", true},
		{"11.4.3", "mariadb.org binary distribution", "MariaDB 11.4.3", true},
		{"10.5.2-MariaDB", "", "MariaDB 10.5.2", true},
		{"10.4.34-MariaDB", "", "MariaDB 10.4.34", false},
		{"", "", "", false},
		{"8.0", "", "", false},
		{"8.0.", "", "", false},
		{"8.0.99999", "", "", false},
		{"-8.0.1", "", "", false},
	} {
		v, err := ParseVersion(tt.version, tt.comment)
		if tt.want == "" {
			if !errors.Is(err, ErrUnsupported) || v.Supported() == nil || v.Raw != tt.version {
				t.Errorf("%q: %v, %v", tt.version, v, err)
			}
			continue
		}
		if err != nil || v.String() != tt.want || v.Raw != tt.version {
			t.Errorf("%q: %v, %v; want %s", tt.version, v, err, tt.want)
		}
		if err := v.Supported(); (err == nil) != tt.supported || err != nil && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%q: supported: %v", tt.version, err)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("9.7.4-2", "(Debian)")
	f.Add("5.5.5-10.11.19-MariaDB-0+deb12u1-log", "")
	f.Add("8.0.\xff", "mariadb")
	f.Fuzz(func(t *testing.T, version, comment string) {
		v, err := ParseVersion(version, comment)
		if v.Raw != version {
			t.Errorf("Raw %q of %q", v.Raw, version)
		}
		if (err == nil) != (v.Flavor != UnknownFlavor) {
			t.Errorf("%v, %v", v, err)
		}
		if err == nil && (v.Major < 0 || v.Minor < 0 || v.Patch < 0 || v.Major > 65535) {
			t.Errorf("%+v", v)
		}
	})
}

// releases are the first and the last of each series that is supported.
var releases = []Version{
	{Flavor: MySQL, Major: 8, Minor: 0, Patch: 22},
	{Flavor: MySQL, Major: 8, Minor: 0, Patch: 44},
	{Flavor: MySQL, Major: 8, Minor: 4},
	{Flavor: MySQL, Major: 9},
	{Flavor: MySQL, Major: 9, Minor: 7, Patch: 4},
	{Flavor: MariaDB, Major: 10, Minor: 5, Patch: 2},
	{Flavor: MariaDB, Major: 10, Minor: 11, Patch: 19},
	{Flavor: MariaDB, Major: 12, Minor: 1},
}

// TestStatements: nothing in the table is out of reach, ambiguous, or in words
// that a release does not know.
func TestStatements(t *testing.T) {
	for _, table := range []map[Statement][]variant{probeStatements, controlStatements} {
		for name, variants := range table {
			if len(variants) == 0 {
				t.Errorf("%s: no variant", name)
			}
			for i, r := range variants {
				if !slices.ContainsFunc(releases, r.holds) {
					t.Errorf("%s: variant %d holds for no supported release", name, i)
				}
			}
			for _, v := range releases {
				text, ok := v.SQL(name)
				if !ok {
					continue
				}
				if strings.TrimSpace(text) == "" {
					t.Errorf("%s on %s: empty", name, v)
				}
				upper := strings.ToUpper(text)
				if v.Flavor == MySQL && (strings.Contains(upper, "START SLAVE") || strings.Contains(upper, "STOP SLAVE") ||
					strings.Contains(upper, "SLAVE STATUS") || strings.Contains(upper, "SLAVES STATUS")) {
					t.Errorf("%s on %s uses words that 8.4 removed: %s", name, v, text)
				}
				if v.Flavor == MySQL && v.AtLeast(8, 4, 0) && (strings.Contains(upper, "SHOW MASTER STATUS") || strings.Contains(upper, "CHANGE MASTER")) {
					t.Errorf("%s on %s uses words that 8.4 removed: %s", name, v, text)
				}
			}
		}
	}
	for name := range probeStatements {
		if _, twice := controlStatements[name]; twice {
			t.Errorf("%s is in both halves of the table", name)
		}
	}
	if text, ok := (Version{}).SQL(StmtVersion); !ok || text == "" {
		t.Error("a server that nobody has asked yet cannot be asked")
	}
	if _, ok := (Version{}).SQL(StmtState); ok {
		t.Error("a statement of one flavour for a server of none")
	}
}

// TestReasons: every constant is in the list, none twice, and all are of one
// form.
func TestReasons(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var constants []Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		constants = append(constants, Reason(text))
		return true
	})
	if !slices.Equal(constants, Reasons()) {
		t.Errorf("constants %v\nlist %v", constants, Reasons())
	}
	seen := make(map[Reason]bool)
	for _, r := range constants {
		if seen[r] || r == "" || strings.Trim(string(r), "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("bad reason %q", r)
		}
		seen[r] = true
	}
}
