// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// templateRevision is raised when what a fresh data directory holds changes.
const templateRevision = 1

// accounts is run once in every fresh data directory. The server has no account for TCP otherwise: root is for the
// socket, without a password.
const accounts = `CREATE USER 'lab'@'%' IDENTIFIED BY 'lab';
GRANT ALL PRIVILEGES ON *.* TO 'lab'@'%' WITH GRANT OPTION;
`

// makeDataDir fills dir, which must not exist or be empty, with a fresh data directory: no databases, no binary log,
// no GTIDs, no server UUID. Making one takes seconds, so it is made once and copied afterwards.
func makeDataDir(ctx context.Context, f Flavor, dir string) error {
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	template := filepath.Join(cache, "templates", fmt.Sprintf("%s-r%d", f, templateRevision))
	if err := os.MkdirAll(filepath.Dir(template), 0o755); err != nil {
		return fmt.Errorf("make the template directory: %w", err)
	}
	if err := ensureTemplate(ctx, f, template); err != nil {
		return fmt.Errorf("initialise a %s data directory: %w", f, err)
	}
	if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
		return fmt.Errorf("copy the template data directory: %w", err)
	}
	return nil
}

// ensureTemplate makes the template unless it is there; test programs that run at once make one together.
func ensureTemplate(ctx context.Context, f Flavor, template string) error {
	unlock, err := lockFile(template + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(template); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return makeTemplate(ctx, f, template)
}

func makeTemplate(ctx context.Context, f Flavor, template string) error {
	program, err := Program(flavors[f].program)
	if err != nil {
		return err
	}
	options, err := f.baseOptions()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(template), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	data := filepath.Join(work, "data")
	// Without a binary log nothing that is done here gets a GTID, so a replica can take everything from its source.
	options = append(options, "datadir="+data, "skip_log_bin", "skip_networking=ON", "socket="+filepath.Join(work, "s"))
	defaults := filepath.Join(work, "my.cnf")
	if err := writeOptionFile(defaults, options); err != nil {
		return err
	}
	var cmd *exec.Cmd
	if f.IsMariaDB() {
		cmd, err = mariadbBootstrap(ctx, f, program, defaults, data)
	} else {
		cmd, err = mysqlInitialize(ctx, program, defaults, work)
	}
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, lastLines(string(out), 10))
	}
	// Copies must differ in their UUID: the server makes one when there is none.
	if err := os.Remove(filepath.Join(data, "auto.cnf")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Rename(data, template)
}

func mysqlInitialize(ctx context.Context, program, defaults, work string) (*exec.Cmd, error) {
	sql := filepath.Join(work, "init.sql")
	if err := os.WriteFile(sql, []byte(accounts), 0o644); err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, program, "--defaults-file="+defaults, "--initialize-insecure", "--init-file="+sql), nil
}

// mariadbBootstrap does what mariadb-install-db does, which is a script that wants an installed server.
func mariadbBootstrap(ctx context.Context, f Flavor, program, defaults, data string) (*exec.Cmd, error) {
	root, err := f.root()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(data, "mysql"), 0o755); err != nil {
		return nil, err
	}
	readers := []io.Reader{strings.NewReader("USE mysql;\n")}
	prefix := flavors[f].scripts
	for _, name := range []string{
		prefix + "system_tables.sql", prefix + "performance_tables.sql", prefix + "system_tables_data.sql",
		"fill_help_tables.sql", "maria_add_gis_sp_bootstrap.sql", prefix + "sys_schema.sql",
	} {
		text, err := os.ReadFile(filepath.Join(root, flavors[f].share, name))
		if err != nil {
			return nil, err
		}
		readers = append(readers, strings.NewReader(string(text)+"\n"))
	}
	// Bootstrap mode starts without the grant tables; loading them makes account statements work.
	readers = append(readers, strings.NewReader("FLUSH PRIVILEGES;\n"+accounts))
	cmd := exec.CommandContext(ctx, program, "--defaults-file="+defaults, "--bootstrap")
	cmd.Stdin = io.MultiReader(readers...)
	return cmd, nil
}

// lockFile takes an exclusive lock that other processes honour, and returns what gives it back.
func lockFile(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// lastLines returns the last n lines of s.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
