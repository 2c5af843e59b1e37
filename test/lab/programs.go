// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// ErrNotSetUp says that a program of the lab is missing; test/lab/setup.sh brings it.
var ErrNotSetUp = errors.New("not set up: run test/lab/setup.sh")

// cacheDir is where setup.sh unpacks the servers.
func cacheDir() (string, error) {
	if dir := os.Getenv("HIGHWATER_CACHE"); dir != "" {
		return filepath.Join(dir, "lab"), nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "highwater", "lab"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	return filepath.Join(home, ".cache", "highwater", "lab"), nil
}

// Program returns the path of a program that setup.sh unpacked: mysqld, mysql, mysqlbinlog, mariadbd, mariadb,
// mariadb-backup, mbstream, mariadb-binlog, keepalived, promtool. The error wraps ErrNotSetUp when it is not there.
func Program(name string) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bin", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s: %w", name, ErrNotSetUp)
	}
	return path, nil
}

// Require skips the test when something that it needs is absent: "root", "mysql", "mariadb", "keepalived",
// "promtool", or another name that Program knows. With HIGHWATER_REQUIRE_LAB=1 in the environment the test fails
// instead, so that a run which must prove something cannot pass by skipping.
func Require(t testing.TB, what ...string) {
	t.Helper()
	for _, w := range what {
		var reason string
		switch w {
		case "root":
			if os.Geteuid() != 0 {
				reason = "needs root"
			}
		case "mysql", "mariadb":
			w = flavors[Flavor(w)].program
			fallthrough
		default:
			if _, err := Program(w); err != nil {
				reason = err.Error()
			}
		}
		switch {
		case reason == "":
		case os.Getenv("HIGHWATER_REQUIRE_LAB") == "1":
			t.Fatal(reason)
		default:
			t.Skip(reason)
		}
	}
}
